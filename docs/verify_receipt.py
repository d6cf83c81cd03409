"""Verify a moot receipt with `cryptography` and the standard library alone: python verify_receipt.py RECEIPT.json [ROOT_SHA256_HEX]
Checks every certificate, signature, commitment, the Merkle root; choice and boolean: recomputes weights, answer and confidence."""
import base64, collections, hashlib, json, math, struct, sys
from cryptography import x509
def sha(b): return hashlib.sha256(b).digest()
def need(ok, why): ok or sys.exit("This receipt does not hold: " + why)
def load(b, i=0):  # MessagePack -> ([(child, start, end), ...] for arrays | value), next index
    t = b[i]; i += 1; items = []
    if t < 0x80 or t >= 0xE0: return t if t < 0x80 else t - 256, i
    if t in (0xC0, 0xC2, 0xC3): return {0xC0: None, 0xC2: False, 0xC3: True}[t], i
    if t in (0xCB, 0xCC, 0xCD, 0xCE, 0xCF, 0xD0, 0xD1, 0xD2, 0xD3):
        f = {0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}[t]
        return struct.unpack_from(f, b, i)[0], i + struct.calcsize(f)
    w = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}.get(t, 0)
    n = int.from_bytes(b[i:i + w], "big") if w else t & (31 if 0xA0 <= t < 0xC0 else 15); i += w
    if 0xA0 <= t < 0xC0 or 0xC4 <= t <= 0xDB: return (b[i:i + n] if 0xC4 <= t <= 0xC6 else b[i:i + n].decode()), i + n
    for _ in range(n * (2 if 0x80 <= t < 0x90 or t >= 0xDE else 1)): v, j = load(b, i); items.append((v, i, j)); i = j
    return items, i
def V(a): return [V(x[0]) for x in a] if isinstance(a, list) else a  # without positions
def signed(key, context, node, k, over=b""):  # node: (items, start, end) whose k-th item is a signature over the rest
    (sig, s, e), (_, a, z) = node[0][k], node
    key.verify(sig, b"moot" + bytes([len(context)]) + context + over + raw[a:s] + b"\xc4\x40" + bytes(64) + raw[e:z])
def member(chain):  # the leaf's key, if its keeper and the root vouch for it at the time of the question
    certs = [x509.load_der_x509_certificate(c) for c in (*V(chain), R[2])]
    certs[0].verify_directly_issued_by(certs[1]); certs[1].verify_directly_issued_by(certs[2])
    need(all(c.not_valid_before_utc.timestamp() <= Q[6] <= c.not_valid_after_utc.timestamp() for c in certs), "a certificate is out of date")
    return certs[0].public_key()
def merkle(h):
    k = 1 << (len(h) - 1 | 1).bit_length() - 1; return sha(b"\1" + merkle(h[:k]) + merkle(h[k:]) if h[1:] else b"\0" + h[0] if h else b"")
raw = base64.b64decode(json.load(open(sys.argv[1]))["receipt"]); top = load(raw)[0]; R = V(top); Q, CS = R[4], top[8]
need(R[:2] == [5, "4"], "another version"); need(len(sys.argv) < 3 or sha(R[2]).hex() == sys.argv[2], "another swarm")
me = member(CS[0][1][0]); signed(me, b"receipt", (top, 0, len(raw)), len(top) - 1)
pub = me.public_bytes_raw(); pre = raw[top[4][1]:top[4][2]]; blank = pre.replace(Q[0], bytes(20), 1)
need(sha(b"moot question 1" + sha(pub)[:20] + R[3] + blank)[:20] == Q[0], "the question's id"); promised, votes, keys = {}, {}, {}
for c in CS[0][2][0]:
    keys[sha(b"moot commitment 1" + raw[c[1]:c[2]])] = member(c[0][1][0]); promised |= dict(zip(V(c[0][2][0]), V(c[0][3][0])))
need(merkle([h for c in V(CS[0][2][0]) for h in c[3]]) == R[12], "the Merkle root")
for r in top[9][0]:
    signed(keys[r[0][0][0]], b"reveal", r, 2, sha(b"moot commit set 1" + Q[0] + b"".join(keys)))
    votes |= {V(v[0])[0]: V(v[0])[4] for v in r[0][1][0] if sha(b"moot vote 1" + sha(pre) + raw[v[1]:v[2]]) == promised.get(V(v[0])[0])}
if Q[1] in ("choice", "boolean") and R[14][0] == "answered":
    k = max(2, len(Q[3])); seats = [s for s in R[6] if s[0] in votes]
    def cap(p, m): return max(-4, min(4, math.log(p * m) - math.log1p(-p))) if 0 < p < 1 else (4 if p >= 1 else -4)
    def alone(s):  # what one vote weighs: cautious end of a Beta posterior; below zero where the agent is surely worse than chance
        n = s[2] + s[3] + 4; p = (s[2] + 2 * (1 + 1 / k)) / n; sd = math.sqrt(p * (1 - p) / (n + 1)); high = cap(p + 1.645 * sd, k - 1)
        return high if high < 0 else max(.02, cap(p - sd, k - 1))
    size = collections.Counter(s[4] for s in seats if alone(s) > 0)
    def weight(s): return max(.02, alone(s) / (1 + (size[s[4]] - 1) * R[11][s[4]])) if alone(s) > 0 else alone(s)
    def odds(x, lean=()):  # capped log-odds with the leaning taken out; None: no opinion
        e = [math.exp(v - b) for v, b in zip(x, lean or [0] * k)]; p = [v / sum(e) for v in e]
        return [cap(v, 1) for v in p] if p and round(max(p) - 1 / k, 6) > .02 * (1 - 1 / k) else None
    heard = [(weight(s), o) for s in seats if odds(votes[s[0]]) and (o := odds(votes[s[0]], s[5]))]; none = all(w <= 0 for w, _ in heard)
    against = [0 if none else min(2.5, sum(-w for w, o in heard if w < 0 and o.index(max(o)) == i)) for i in range(k)]
    pooled = [math.fsum((1 if none else max(0, w)) * o[i] for w, o in heard) - 4 * against[i] for i in range(k)]
    e = [1 / (1 + math.exp(-x / math.fsum(1 if none else max(0, w) for w, _ in heard))) for x in pooled]; p, S = R[14][3], R[13][7]
    C = [0, *((s[2] + .5) / (s[3] + 1) for s in S), 1]; need(abs(max(e) / sum(e) - p) < 2e-6, "the pooled probability")
    if S: i = sum(s[0] < p for s in S); m, c, up = S[i][1], C[i + 1], p >= S[i][1]; z = [0, *(s[0] for s in S)][i + up]
    need(R[14][5] == (c + .05 * ((p - m) / (z - m) if z != m else 0) * (C[i + 2 * up] - c) if S else None), "the confidence")
    need((Q[3] or [False, True])[pooled.index(max(pooled))] == R[14][2], "the answer does not follow from the votes")
print(f"holds: {len(votes)} votes; answer {R[14][2]!r}, confidence {R[14][5]}", "" if Q[1] in ("choice", "boolean") else "(sums: moot verify)")
