"""How tests talk to the lab: REST, RPC, SQL and the real command line."""
