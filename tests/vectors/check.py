"""Makes every vector of this folder anew, without any of Lectern's code: the standard library and `cryptography`."""

import base64
import hashlib
import json
import math
import pathlib
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = pathlib.Path(__file__).parent


def sha(*pieces):
    return hashlib.sha256(b"".join(pieces)).digest()


def number(n):
    """ECMAScript's Number::toString, as RFC 8785 asks for."""
    if isinstance(n, int):
        n = float(n)
    if n == 0:
        return "0"
    sign, n = ("-" if n < 0 else ""), abs(n)
    digits, _, power = f"{n!r}".partition("e") if "e" in f"{n!r}" else (f"{n!r}", "", "0")
    whole, _, part = digits.partition(".")
    point = len(whole) + int(power)
    digits = (whole + part).lstrip("0")
    point -= len(whole + part) - len((whole + part).lstrip("0"))
    digits = digits.rstrip("0")
    k = len(digits)
    if k <= point <= 21:
        return sign + digits + "0" * (point - k)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = point - 1
    mantissa = digits[0] + ("." + digits[1:] if k > 1 else "")
    return f"{sign}{mantissa}e{'+' if power > 0 else '-'}{abs(power)}"


def canonical(value):
    """RFC 8785."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(text(name) + ":" + canonical(value[name]) for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, str):
        return text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    assert math.isfinite(value)
    return number(value)


def text(value):
    return json.dumps(value, ensure_ascii=False)


def load(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def signed(vector):
    """Context line, canonical bytes, key, key id, digest and signature of one document."""
    document, signature = vector["signed"]["document"], vector["signed"]["signature"]
    body = canonical(document).encode()
    assert body.decode() == vector["canonical_utf8"]
    assert sha(body).hex() == vector["sha256"]
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed_hex"]))
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert base64.b64encode(public).decode() == vector["public_key"]
    assert signature["alg"] == "ed25519" and signature["key_id"] == sha(public).hex()[:16]
    message = vector["context"].encode() + b"\n" + body
    made = base64.b64decode(signature["value"])
    Ed25519PublicKey.from_public_bytes(public).verify(made, message)
    assert private.sign(message) == made
    return document


def chain():
    vectors = load("chain.json")
    part = vectors["part_size"]
    cycle = bytes(k * 31 % 251 for k in range(251))
    take = (cycle * ((2 * part + 1000) // 251 + 1))[: 2 * part + 1000]
    for case in vectors["cases"]:
        head = signed(case["head"])
        mine = [sha(take[at : min(at + part, head["bytes"])]) for at in range(0, head["bytes"], part)]
        assert [h.hex() for h in mine] == case["part_hashes"]
        assert sha(b"lectern part chain v1\n", *mine).hex() == head["chain"]


def tree(leaves):
    """RFC 9162, 2.1.1."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return sha(b"\0", leaves[0])
    k = split(len(leaves))
    return sha(b"\1", tree(leaves[:k]), tree(leaves[k:]))


def split(n):
    return 1 << ((n - 1).bit_length() - 1)


def path(m, leaves):
    """RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return path(m, leaves[:k]) + [tree(leaves[k:])]
    return path(m - k, leaves[k:]) + [tree(leaves[:k])]


def subproof(m, leaves, whole):
    """RFC 9162, 2.1.4.1."""
    if m == len(leaves):
        return [] if whole else [tree(leaves)]
    k = split(len(leaves))
    if m <= k:
        return subproof(m, leaves[:k], whole) + [tree(leaves[k:])]
    return subproof(m - k, leaves[k:], False) + [tree(leaves[:k])]


def log():
    vectors = load("log.json")
    entries = [bytes.fromhex(entry) for entry in vectors["entries"]]
    before = None
    for index, (entry, vector) in enumerate(zip(entries, vectors["receipts"])):
        receipt = signed(vector)
        said = {name: value for name, value in receipt.items() if name != "log"}
        salt = bytes.fromhex(receipt["log"]["salt"])
        assert sha(b"lectern log entry v1\n", salt, canonical(said).encode()) == entry
        assert receipt["log_index"] == index and receipt.get("log_prev") == before
        before = vector["sha256"]
        assert receipt["log"]["checkpoint"] == vectors["checkpoints"][index]["signed"]
        assert receipt["log"]["proof"] == [h.hex() for h in path(index, entries[: index + 1])]
    for vector in vectors["checkpoints"]:
        checkpoint = signed(vector)
        assert checkpoint["root"] == tree(entries[: checkpoint["size"]]).hex()
    for case in vectors["inclusion"]:
        assert case["proof"] == [h.hex() for h in path(case["index"], entries[: case["size"]])]
    for case in vectors["consistency"]:
        assert case["proof"] == [h.hex() for h in subproof(case["from"], entries[: case["to"]], True)]


def main():
    for case in load("canonical.json")["cases"]:
        body = canonical(json.loads(case["json"]))
        assert body == case["canonical_utf8"], (body, case["canonical_utf8"])
        assert sha(body.encode()).hex() == case["sha256"]
    for case in load("usage.json")["cases"]:
        body, row = canonical(case["row"]), case["row"]
        assert body == case["canonical_utf8"] and sha(body.encode()).hex() == case["sha256"]
        length = (row["planned_end_ms"] - row["planned_start_ms"]) / 1000
        assert all(row[name] <= length for name in row if name.endswith("_s") and name != "needed_s")
        assert (row["used"] == "used") == (row["used_s"] >= row["needed_s"])
    for name in ("manifest.json", "rotation.json"):
        for case in load(name)["cases"]:
            signed(case)
    chain()
    log()
    print("all vectors hold")


if __name__ == "__main__":
    sys.exit(main())
