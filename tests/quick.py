"""How programs are compiled in tests, where most of the time is compilation; this file does not load JAX."""

QUICKLY = "--xla_cpu_use_fusion_emitters=false"  # XLA's older code generator for CPUs takes a third of the time
