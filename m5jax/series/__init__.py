"""Many runs, one after another: each in a process and a folder of its own, made once, reported when it fails."""
