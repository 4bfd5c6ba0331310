"""Files written whole, and work done ahead."""
