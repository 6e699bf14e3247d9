"""How XLA compiles in tests."""

# Most of the suite's time is compilation: unoptimised code computes the same, and the tests compute little.
# The scheduler is switched for jax 0.10: of a program read from the compilation cache, virtual devices may otherwise
# begin the collectives in different orders and wait for each other for ever (3 of 3 runs; with the switch 0 of 6).
# Without its fusion emitters the compiler needs half the time.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_enable_concurrency_optimized_scheduler=false"
)
