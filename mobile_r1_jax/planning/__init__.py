"""Memory and time of a run, from the compiler of the accelerator, without the accelerator.

command.py    the steps of the command: list the programs, measure them, try settings that free memory
chips.py      peak rates and memory of a chip, and the names of topologies
programs.py   every program of a run, from the functions that the run calls
flops.py      operations and live bytes of a program, counted in its jaxpr
hlo.py        bytes that a compiled program moves, counted in its text
abstract.py   the arguments of the programs, as shapes
measure.py    memory and roofline of one program: from the TPU compiler, or estimated for GPUs
knobs.py      settings that free memory, and how much each frees
footprint.py  the result for one program
result_cache.py  results on disk
report.py     the tables
"""
