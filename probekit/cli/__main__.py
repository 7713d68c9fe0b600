"""`python -m probekit.cli` is the command `probekit`; `accelerate launch -m` and `torchrun -m` start it so."""

from probekit.cli import main

if __name__ == "__main__":
    main()
