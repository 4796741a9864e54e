"""How ECALLs and OCALLs go, by each runtime's conventions."""
