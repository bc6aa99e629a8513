import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "noaa-isd"
sys.path[:0] = [str(EXAMPLE), str(Path(__file__).parent)]
