"""`python -I -S …/agentd/keeper DIRECTORY`: started by the brain, outlives it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agentd.keeper.roles import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
