"""The process of a command: compilation cache, recompilations, host memory, interrupts."""
