"""Interfaces to the operating system and native libraries that every room shares."""
