// Startup of an mps2-an385 (Cortex-M3) in QEMU: vectors, constructors, main, and its result by semihosting.
#include <cstdint>
#include <cstdlib>

extern "C" {
extern uint32_t stack_top;
extern void (*__preinit_array_start[])();
extern void (*__init_array_start[])();
extern void (*__init_array_end[])();
void initialise_monitor_handles();
int main();

void reset_handler() {
  initialise_monitor_handles();
  for (void (**call)() = __preinit_array_start; call < __init_array_end; ++call) (*call)();
  exit(main());
}

void fault_handler() { exit(3); }

__attribute__((section(".vectors"), used)) const void* const vectors[] = {
    &stack_top, reinterpret_cast<const void*>(reset_handler), reinterpret_cast<const void*>(fault_handler),
    reinterpret_cast<const void*>(fault_handler)};

void _init() {}
void _fini() {}
}
