package pef

import (
	"cmp"
	"math"
	"slices"
)

// The trust file of SPEC §3: which key may sign for which numbers. It is valid only as a whole; the first fault ends it.

const (
	trustCertsMax       = 8_192
	trustRevocationsMax = 1_024
	revocationReasonMax = 256

	purposeLog     = "log"
	purposeReceipt = "receipt"
	formatVersion  = "pef.v0"
	algName        = "ed25519"
)

// certified is a key with the range of numbers that it is valid for.
type certified struct {
	publicKey
	purpose   string
	validFrom uint64
	// until is the next larger valid_from_seq of its purpose, or none.
	until    uint64
	hasUntil bool
	revoked  *revocation
	// worthless says that the certificate was issued after its issuer's last good number.
	worthless bool
}

type revocation struct {
	envelope
	log   string
	keyID string
	// lastGood means something only when any is set; otherwise nothing that the key signed counts.
	lastGood uint64
	any      bool
	reason   string
	// digest is SHA-256 of the canonical envelope.
	digest digest
}

// trust is what a trust file says. Of a data directory whose certificates are not good only log and root are known, and
// void is set: then no signature is looked at.
type trust struct {
	void     bool
	log      string
	root     publicKey
	rootID   string
	logKeys  []*certified
	receipts []*certified
	byID     map[string]*certified
	revoked  map[string]*revocation
}

var (
	rootForm = exactly(
		req("alg", isText), req("key_id", isText), req("name", isText), req("pub", keyText))
	trustForm = exactly(
		req("certs", listOf(anyValue)), req("log", originText), opt("revoked", listOf(anyValue)),
		req("root", rootForm), req("v", oneOf(formatVersion)))
	certificateForm = exactly(
		req("alg", isText), req("issued", timestampText), req("issuer", isText), req("key_id", isText),
		req("log", isText), req("name", isText), req("pub", keyText), req("purpose", oneOf(purposeLog, purposeReceipt)),
		req("v", oneOf(formatVersion)), req("valid_from_seq", decimalText))
	revocationForm = exactly(
		req("alg", isText), req("issued", timestampText), req("issuer", isText), req("key_id", isText),
		req("last_good_seq", decimalOrNone), req("log", isText), req("reason", textUpTo(revocationReasonMax)),
		req("v", oneOf(formatVersion)))
)

// readTrust reads a trust file. codes are what is wrong. But for E305, after which it can be used, there is one.
func readTrust(data []byte) (*trust, []string) {
	v, canonical, code := parseJSON(data, largeJSON)
	if code == "" && !canonical {
		code = codeNotCanonical
	}
	if code != "" {
		return nil, []string{code}
	}
	return readTrustValue(v)
}

func readTrustValue(v *value) (*trust, []string) {
	b := trustBuilder{}
	if !fits(trustForm, v) {
		return b.fail(codeSchema)
	}
	log, _ := v.textOf("log")
	certs := v.get("certs").list
	var revocations []*value
	if revoked := v.get("revoked"); revoked != nil {
		if revocations = revoked.list; len(revocations) == 0 {
			return b.fail(codeSchema)
		}
	}
	if len(certs) > trustCertsMax || len(revocations) > trustRevocationsMax {
		return b.fail(codeLimit)
	}
	if code := b.begin(log, v.get("root")); code != "" {
		return b.fail(code)
	}
	for _, c := range certs {
		if code := b.certificate(c); code != "" {
			return b.fail(code)
		}
	}
	for _, r := range revocations {
		if code := b.revocation(r); code != "" {
			return b.fail(code)
		}
	}
	if !slices.IsSortedFunc(b.revocations, func(x, y *revocation) int { return cmp.Compare(x.keyID, y.keyID) }) {
		return b.fail(codeSchema)
	}
	return b.judge()
}

// issued is a certificate whose form was checked.
type issued struct {
	envelope
	key *certified
	log string
	// issuer is the log key that issued it, or nil for the root key.
	issuer *certified
}

type trustBuilder struct {
	t           trust
	issued      []*issued
	revocations []*revocation
	lastRevoked string
}

func (b *trustBuilder) fail(code string) (*trust, []string) { return nil, []string{code} }

// begin takes over the root key.
func (b *trustBuilder) begin(log string, root *value) string {
	alg, _ := root.textOf("alg")
	name, _ := root.textOf("name")
	id, _ := root.textOf("key_id")
	encoded, _ := root.textOf("pub")
	pub, _ := parseBase64(encoded)
	if alg != algName {
		return codeAlg
	}
	if weakKey(pub) {
		return codeWeakKey
	}
	key := newPublicKey(name, pub)
	if id != hexOf(key.id) {
		return codeKeyID
	}
	b.beginWith(log, key)
	return ""
}

func (b *trustBuilder) beginWith(log string, root publicKey) {
	b.t = trust{log: log, root: root, rootID: hexOf(root.id), byID: map[string]*certified{}, revoked: map[string]*revocation{}}
}

// payload opens the envelope of a certificate or revocation.
func (b *trustBuilder) payload(v *value, payloadType string, form formOf) (e envelope, body *value, code string) {
	e, ok := readEnvelope(v)
	if !ok || e.payloadType != payloadType {
		return e, nil, codeSchema
	}
	body, canonical, code := parseJSON(e.payload, smallJSON)
	if code != "" {
		return e, nil, code
	}
	if !canonical {
		return e, nil, codeNotCanonical
	}
	if !fits(form, body) {
		return e, nil, codeSchema
	}
	if alg, _ := body.textOf("alg"); alg != algName {
		return e, nil, codeAlg
	}
	return e, body, ""
}

func (b *trustBuilder) certificate(v *value) string {
	e, body, code := b.payload(v, typeKey, certificateForm)
	if code != "" {
		return code
	}
	name, _ := body.textOf("name")
	id, _ := body.textOf("key_id")
	log, _ := body.textOf("log")
	purpose, _ := body.textOf("purpose")
	validFrom, _ := body.decimalOf("valid_from_seq")
	encoded, _ := body.textOf("pub")
	pub, _ := parseBase64(encoded)
	if weakKey(pub) {
		return codeWeakKey
	}
	key := &certified{publicKey: newPublicKey(name, pub), purpose: purpose, validFrom: validFrom}
	if issuer, _ := body.textOf("issuer"); id != hexOf(key.id) || issuer != e.keyID {
		return codeKeyID
	}
	b.issued = append(b.issued, &issued{envelope: e, key: key, log: log})
	return ""
}

// authorise checks who issued the certificates: the root key those of log keys, log keys those of receipt keys, each
// within the numbers that it is valid for. In which order they stand says nothing.
func (b *trustBuilder) authorise() string {
	slices.SortStableFunc(b.issued, func(x, y *issued) int {
		return cmp.Or(cmp.Compare(x.key.purpose, y.key.purpose), cmp.Compare(x.key.validFrom, y.key.validFrom))
	})
	for _, i := range b.issued {
		name, by := b.t.log, &b.t.root
		if i.key.purpose == purposeReceipt {
			name += "/receipt"
			if i.issuer = b.t.keyOf(i.keyID, purposeLog); i.issuer == nil {
				return codeRotation
			}
			by = &i.issuer.publicKey
		} else if i.keyID != b.t.rootID {
			return codeRotation
		}
		if i.log != b.t.log || i.key.name != name || !by.verify(pae(typeKey, i.payload), i.sig) ||
			b.t.byID[hexOf(i.key.id)] != nil {
			return codeRotation
		}
		keys := &b.t.logKeys
		if i.key.purpose == purposeReceipt {
			keys = &b.t.receipts
		}
		*keys = append(*keys, i.key)
		b.t.byID[hexOf(i.key.id)] = i.key
	}
	setEnds(b.t.logKeys)
	setEnds(b.t.receipts)
	for _, i := range b.issued {
		if i.issuer != nil &&
			(i.key.validFrom < i.issuer.validFrom || i.issuer.hasUntil && i.key.validFrom > i.issuer.until) {
			return codeRotation
		}
	}
	return ""
}

// setEnds gives each key the next larger number as its end.
func setEnds(keys []*certified) {
	for i := len(keys) - 2; i >= 0; i-- {
		next := keys[i+1]
		if next.validFrom > keys[i].validFrom {
			keys[i].until, keys[i].hasUntil = next.validFrom, true
		} else {
			keys[i].until, keys[i].hasUntil = next.until, next.hasUntil
		}
	}
}

func (b *trustBuilder) revocation(v *value) string {
	e, body, code := b.payload(v, typeRevocation, revocationForm)
	if code != "" {
		return code
	}
	id, _ := body.textOf("key_id")
	log, _ := body.textOf("log")
	if issuer, _ := body.textOf("issuer"); issuer != e.keyID {
		return codeKeyID
	}
	b.lastRevoked = id
	r := &revocation{envelope: e, log: log, keyID: id}
	r.lastGood, r.any = body.decimalOf("last_good_seq")
	r.reason, _ = body.textOf("reason")
	r.digest, _ = parseDigest(sha256Hex(canonicalJSON(v)))
	b.revocations = append(b.revocations, r)
	if b.t.revoked[id] == nil {
		b.t.revoked[id] = r
	}
	return ""
}

// judge says whether the right keys issued everything.
func (b *trustBuilder) judge() (*trust, []string) {
	if b.t.root.name != b.t.log+"/root" {
		return b.fail(codeRotation)
	}
	if code := b.authorise(); code != "" {
		return b.fail(code)
	}
	for _, r := range b.revocations {
		if r.log != b.t.log || r.envelope.keyID != b.t.rootID || !b.t.root.verify(pae(typeRevocation, r.payload), r.sig) {
			return b.fail(codeRotation)
		}
	}
	return b.finish()
}

// finish binds the revocations to their keys and looks whether a certificate was issued after its issuer's last good
// number.
func (b *trustBuilder) finish() (*trust, []string) {
	for _, i := range b.issued {
		i.key.revoked = b.t.revoked[hexOf(i.key.id)]
	}
	var codes []string
	for _, i := range b.issued {
		if i.issuer != nil && !i.issuer.revoked.allowsTree(i.key.validFrom) {
			i.key.worthless = true
			codes = []string{codeRevoked}
		}
	}
	return &b.t, codes
}

// allowsTree says whether a revoked key is still good for trees of size leaves, or certificates valid from that number:
// up to the last good number and one.
func (r *revocation) allowsTree(size uint64) bool {
	return r == nil || r.any && (r.lastGood == math.MaxUint64 || size <= r.lastGood+1)
}

func (r *revocation) allowsSeq(seq uint64) bool {
	return r == nil || r.any && seq <= r.lastGood
}

// validForSeq is empty or why a receipt key may not sign a receipt.
func (k *certified) validForSeq(seq uint64) string {
	switch {
	case k.worthless || !k.revoked.allowsSeq(seq):
		return codeRevoked
	case seq < k.validFrom || k.hasUntil && seq >= k.until:
		return codeKeyRange
	}
	return ""
}

// validForTree is empty or why a log key may not sign for a tree of size leaves.
func (k *certified) validForTree(size uint64) string {
	switch {
	case !k.revoked.allowsTree(size):
		return codeRevoked
	case k.validFrom > 0 && size <= k.validFrom || k.hasUntil && size > k.until:
		return codeKeyRange
	}
	return ""
}

// keyOf gives a certified key of a purpose.
func (t *trust) keyOf(id, purpose string) *certified {
	if k := t.byID[id]; k != nil && k.purpose == purpose {
		return k
	}
	return nil
}
