"""The open-relay list: every way that was ever found to talk a relay into taking foreign mail.
R our host, I our address, L a local domain, T a foreign sender's, V the victim's."""

R, I, L, T, V = "relay.example", "127.0.0.1", "local.example", "sender.example", "victim.example"

SENDERS = ["", f"a@{T}", f"a@{R}", f"a@{L}", f"a@[{I}]", "a@localhost", "a", f"real@{L}"]

# As they stand behind "RCPT TO:".
RECIPIENTS = [
    f"<v@{V}>", f"<v%{V}@{R}>", f"<v%{V}@[{I}]>", f"<v%{V}@{L}>", f"<v%{V}>", f'<"v@{V}">',
    f'<"v%{V}">', f'<"v@{V}"@{R}>', f'<"v@{V}"@[{I}]>', f'<"v%{V}"@{L}>', f"<v@{V}@{R}>",
    f"<v@{V}@[{I}]>", f"<@{R}:v@{V}>", f"<@[{I}]:v@{V}>", f"<@{R},@{T}:v@{V}>",
    f"<@{L}:v%{V}@{R}>", f"<@{L}:v@{V}>", f"<{V}!v>", f"<{V}!v@{R}>", f"<{V}!v@[{I}]>",
    f"<{R}!{V}!v>", f"<{L}!v%{V}@{R}>", f"<{V}!v@{L}>", f"v@{V}", f"<v@{V}.>", "<v@[192.0.2.25]>",
    "<v@[IPv6:2001:db8::25]>", f"<v@{V},x@{L}>", f"<v@{V}><x@{L}>", f"<x@{L}><v@{V}>",
    f"<(c)v@{V}>", f"<v@{V}(c)@{L}>", f'<"v"@{V}@{R}>', f'<"v\\@{V}"@{L}>', f"<v%40{V}@{L}>",
    f"<v@{V}\0@{L}>", f"<v@{V}\r@{L}>", "<v@xn--4ca0bs.example>", f"<v:{V}@{L}>",
    f"<v@{V}:{L}>", f"<v@{V}> <x@{L}>", f"< v@{V}>", f"<v@{V} >", f"<<v@{V}>>", f"<v@{V}>x@{L}",
    f"<v@{L}@{V}>", f"<v@{V}%{L}@{L}>", f"<{L}:v@{V}>", f"<@{L}@{V}>", f'<"v@{V}\\"@{L}>',
    f"<v\\@{V}@{L}>", f"<v@{L}.{V}>", f"<v@{V}..{L}>", f"<v@[{I}]@{V}>", f"<@{L}:@{R}:v@{V}>",
    f"<v@#3221225985>", "<v@3221225985>", f'<"v"%{V}@{L}>', f"<v@{V}\t>",
]

# Look foreign and are not: nothing in the local part has a meaning to us.
HARMLESS = [f"<v=40{V}@{L}>", "<postmaster>", f"<postmaster@{R}>", f"<v+{V}@{L}>"]


def foreign(address):
    """Whether mail to this final address is the victim's."""
    return not address.lower().rstrip(">").endswith(("@" + L, "postmaster", "postmaster@" + R))
