"""Where runs stand: validation, physical sense, quarantine, repair."""
