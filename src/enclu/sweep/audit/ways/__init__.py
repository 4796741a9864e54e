"""How enclaves of each runtime are spoken to by an audit: raw entries, with every register of its choosing."""
