"""Interfaces to the operating system and to native libraries, shared by all packages of the runtime."""
