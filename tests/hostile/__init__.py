"""What an attacker may send: each is refused with a reason, or stored safely, and stops nothing beside it."""
