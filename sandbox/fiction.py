"""People, phone numbers and talk for the metadata. All invented; the numbers are of the ranges kept for fiction."""

from __future__ import annotations

from random import Random

FIRST_NAMES = ("Ada", "Noor", "Jürgen", "Mei", "Tomás", "Olu", "Priya", "Søren", "Zoë", "Łukasz", "Amina", "Kenji")
LAST_NAMES = ("Okafor", "Lindqvist", "García", "O'Neil", "Tanaka", "Müller", "Haddad", "Novák", "Singh", "Brandt")
COMPANIES = ("Northwind Dental", "Harbor Freight Forwarding", "Casa Verde", "Blue Mesa Insurance", "Åkerlund & Co")
AGENTS = ("Invoice collector", "Claims portal", "Prior authorisation", "Vendor onboarding", "Rate checker")
CAMPAIGNS = ("spring-renewals", "no-show-follow-up", "quote-callbacks", "welcome-calls")
PORTALS = (
    "https://portal.example.com/login?next=%2Finvoices",
    "https://claims.example.org/",
    "https://app.example.net",
)
OUTCOMES = (
    "Interested, asked for a quote.",
    "Asked to be called again on Monday.",
    "Wrong person.",
    "Renewed the policy.",
)
_TALK = (
    ("agent", "Hi, this is Riley calling about your appointment. Is now a good time?"),
    ("user", "Yes, go ahead — but I only have a minute."),
    ("agent", 'Great. You said "mornings are best", so would Tuesday at 9:30 work?'),
    ("user", "Tuesday's fine. Naïve question: do I bring my card?"),
    ("agent", "Yes please. Anything else that I can help with?"),
    ("user", "No, that is all. Thanks!\nBye."),
)


def full_name(rng: Random) -> tuple[str, str]:
    """Return a first and a last name."""
    return rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)


def phone_number(rng: Random) -> str:
    """Return a North American number from the range that is kept for fiction."""
    return f"+1{rng.choice((206, 312, 415, 512, 646))}55501{rng.randrange(100):02d}"


def email(first: str, last: str) -> str:
    """Return an address at a domain that is kept for examples."""
    return f"{first}.{last}@example.com".lower().replace("'", "")


def talk(rng: Random) -> list[tuple[str, str]]:
    """Return some turns of a conversation as (speaker, words)."""
    return list(_TALK[: rng.randrange(2, len(_TALK) + 1)])
