package pef

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"lukechampine.com/blake3"
)

// A small log, written from SPEC alone, for the tests of this package. It is no writer for anything else.

type signer struct {
	publicKey
	private ed25519.PrivateKey
}

func newSigner(name string, seed byte) *signer {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	return &signer{newPublicKey(name, private.Public().(ed25519.PublicKey)), private}
}

func (s *signer) keyID() string { return hexOf(s.id) }

func (s *signer) sign(message []byte) []byte { return ed25519.Sign(s.private, message) }

func (s *signer) seal(payloadType string, body *value) *value {
	payload := canonicalJSON(body)
	envelope, _, _ := parseJSON(appendEnvelope(nil, payload, payloadType, s.keyID(), s.sign(pae(payloadType, payload))), largeJSON)
	return envelope
}

func (s *signer) vkey() string {
	return fmt.Sprintf("%s+%08x+%s", s.name, s.hash(), base64Of(append([]byte{algEd25519}, s.pub...)))
}

func (s *signer) certify(k *signer, log, purpose string, from uint64) *value {
	return s.seal(typeKey, object(
		member{"alg", text(algName)}, member{"issued", text(testTime(0))}, member{"issuer", text(s.keyID())},
		member{"key_id", text(k.keyID())}, member{"log", text(log)}, member{"name", text(k.name)},
		member{"pub", text(base64Of(k.pub))}, member{"purpose", text(purpose)},
		member{"v", text(formatVersion)}, member{"valid_from_seq", text(formatDecimal(from))}))
}

func testTime(n uint64) string { return fmt.Sprintf("2026-11-21T03:41:04.%06dZ", n) }

type entry struct {
	body, sig, envelope []byte
	chain, prev         digest
	seq                 uint64
	kind, verdict       string
}

type testLog struct {
	origin         string
	root, log, key *signer
	certs, revoked []*value
	entries        []entry
	chain          digest
	boot           string
	epoch          int64
	mono           uint64
	leaves         frontier
	files          map[string][]byte // further members of the bundle
	checkpoints    map[uint64]digest
	attempts       []uint64
	runSeq         uint64
	runPrev        digest
}

func newTestLog() *testLog {
	l := &testLog{
		origin: "example.com/log", boot: "01a1fd89-efb8-76bf-8ba6-33c99d0883d0", epoch: 1,
		files: map[string][]byte{}, checkpoints: map[uint64]digest{},
	}
	l.root, l.log, l.key = newSigner(l.origin+"/root", 1), newSigner(l.origin, 2), newSigner(l.origin+"/receipt", 3)
	l.certs = []*value{
		l.root.certify(l.log, l.origin, purposeLog, 0), l.log.certify(l.key, l.origin, purposeReceipt, 0),
	}
	l.runPrev = derive(contextRun, []byte("r"))
	return l
}

// revoke makes a revocation of a key whose last good number is given as text.
func (l *testLog) revoke(k *signer, lastGood string) *value {
	return l.root.seal(typeRevocation, object(
		member{"alg", text(algName)}, member{"issued", text(testTime(0))}, member{"issuer", text(l.root.keyID())},
		member{"key_id", text(k.keyID())}, member{"last_good_seq", text(lastGood)}, member{"log", text(l.origin)},
		member{"reason", text("stolen")}, member{"v", text(formatVersion)}))
}

func num(n int64) *value { return &value{kind: kindNumber, number: n} }

// add appends a receipt with the members of its kind.
func (l *testLog) add(kind string, members ...member) *entry {
	seq := uint64(len(l.entries))
	l.mono += 1000
	prev := l.chain
	if kind == "genesis" {
		prev = derive(contextGenesis, canonicalJSON(members[0].value))
	}
	id := fmt.Sprintf("01a1fd89-efc7-719b-8a0a-%012x", seq)
	for i, m := range members {
		if m.name == "id" {
			id = m.value.text
			members = slices.Delete(slices.Clone(members), i, i+1)
			break
		}
	}
	body := canonicalJSON(object(append([]member{
		{"alg", text(algName)}, {"boot", object(member{"epoch", num(l.epoch)}, member{"id", text(l.boot)})},
		{"build", object(member{"version", text("0.1.0")})}, {"dur", text("durable")}, {"id", text(id)},
		{"key_id", text(l.key.keyID())}, {"kind", text(kind)}, {"log", text(l.origin)},
		{"mono_ns", text(formatDecimal(l.mono))}, {"prev", text(hexOf(prev))}, {"seq", text(formatDecimal(seq))},
		{"ts", text(testTime(seq))}, {"v", text(formatVersion)},
	}, members...)...))
	sig := l.key.sign(pae(typeReceipt, body))
	e := entry{body: body, sig: sig, seq: seq, kind: kind, prev: prev, chain: chainValue(seq, body),
		envelope: appendEnvelope(nil, body, typeReceipt, l.key.keyID(), sig)}
	l.chain = e.chain
	l.entries = append(l.entries, e)
	l.leaves.add(leafHash(e.envelope))
	return &l.entries[seq]
}

func (l *testLog) event(kind string, members ...member) *entry {
	return l.add(kind, member{"event", object(members...)})
}

func (l *testLog) begin() {
	l.event("genesis", member{"created", text(testTime(0))}, member{"log", text(l.origin)},
		member{"root", text(l.root.keyID())})
	l.event("boot", member{"clean", &value{kind: kindBool, boolean: true}})
}

// exchange appends an attempt and its outcome, in one run.
func (l *testLog) exchange() {
	id := member{"id", text(fmt.Sprintf("01a1fd89-efc7-719b-8a0a-%012x", len(l.entries)))}
	shared := []member{
		{"caller", object()}, {"checks", list()}, {"coverage", object(member{"level", text("full")})},
		{"findings", list()},
		{"policy", object(member{"decision", text("allow")}, member{"hash", text("h")}, member{"rules", list()})},
		id,
	}
	run := func() member {
		m := member{"run", object(member{"id", text("r")}, member{"prev", text(hexOf(l.runPrev))},
			member{"seq", text(formatDecimal(l.runSeq))})}
		l.runSeq++
		return m
	}
	attempt := l.add("attempt", append(slices.Clone(shared), run(), member{"request", object(
		member{"bytes", num(7)}, member{"stream", &value{kind: kindBool}}, member{"surface", text("openai")})})...)
	seq := attempt.seq
	l.runPrev = attempt.chain
	outcome := l.add("outcome", append(slices.Clone(shared), run(), member{"attempt_seq", text(formatDecimal(seq))},
		member{"stream", object(member{"events", num(1)}, member{"held_max_bytes", num(0)},
			member{"root", text(hexOf(leafHash([]byte("event"))))})},
		member{"verdict", text("executed")})...)
	outcome.verdict = "executed"
	l.runPrev = outcome.chain
}

func (l *testLog) tree(size uint64) *frontier {
	f := &frontier{}
	for _, e := range l.entries[:size] {
		f.add(leafHash(e.envelope))
	}
	return f
}

// inclusion gives the path of a leaf in the tree of size leaves.
func (l *testLog) inclusion(index, size uint64) []digest {
	hashes := make([]digest, size)
	for i := range hashes {
		hashes[i] = leafHash(l.entries[i].envelope)
	}
	return inclusionPath(hashes, index)
}

func splitAt(n uint64) uint64 {
	k := uint64(1)
	for k*2 < n {
		k *= 2
	}
	return k
}

func treeRoot(leaves []digest) digest {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := splitAt(uint64(len(leaves)))
	return nodeHash(treeRoot(leaves[:k]), treeRoot(leaves[k:]))
}

func inclusionPath(leaves []digest, index uint64) []digest {
	if len(leaves) == 1 {
		return nil
	}
	k := splitAt(uint64(len(leaves)))
	if index < k {
		return append(inclusionPath(leaves[:k], index), treeRoot(leaves[k:]))
	}
	return append(inclusionPath(leaves[k:], index-k), treeRoot(leaves[:k]))
}

func consistencyPath(leaves []digest, from uint64, whole bool) []digest {
	n := uint64(len(leaves))
	if from == n {
		if whole {
			return nil
		}
		return []digest{treeRoot(leaves)}
	}
	k := splitAt(n)
	if from <= k {
		return append(consistencyPath(leaves[:k], from, whole), treeRoot(leaves[k:]))
	}
	return append(consistencyPath(leaves[k:], from-k, false), treeRoot(leaves[:k]))
}

func (l *testLog) checkpoint(size uint64) []byte {
	root := l.tree(size).root()
	l.checkpoints[size] = root
	body := fmt.Sprintf("%s\n%d\n%s\n", l.origin, size, base64Of(root[:]))
	sig := append(binary.BigEndian.AppendUint32(nil, l.log.hash()), l.log.sign([]byte(body))...)
	return []byte(body + "\n— " + l.origin + " " + base64Of(sig) + "\n")
}

func (l *testLog) keys() []byte {
	members := []member{
		{"certs", list(l.certs...)}, {"log", text(l.origin)},
		{"root", object(member{"alg", text(algName)}, member{"key_id", text(l.root.keyID())},
			member{"name", text(l.root.name)}, member{"pub", text(base64Of(l.root.pub))})},
		{"v", text(formatVersion)},
	}
	if len(l.revoked) > 0 {
		members = append(members, member{"revoked", list(l.revoked...)})
	}
	return canonicalJSON(object(members...))
}

func frontierValue(f *frontier) *value {
	hashes := list()
	for _, h := range f.hashes {
		hashes.list = append(hashes.list, text(hexOf(h)))
	}
	return object(member{"hashes", hashes}, member{"size", text(formatDecimal(f.size))})
}

var testAbout = `{"automation":{"job_ids":[],"pipeline_ids":[],"service_ids":[]},"builds":["0.1.0"],"performance":{"exchanges":0,` +
	`"first_byte_us":{"max":0,"p50":0,"p90":0,"p99":0},"total_us":{"max":0,"p50":0,"p90":0,"p99":0}},"schemas":[],"sdks":[],"worm":[]}`

// bundle gives the members of the bundle of receipts [from, to).
func (l *testLog) bundle(from, to uint64) map[string][]byte {
	m := map[string][]byte{
		"checkpoint": l.checkpoint(to), "frontier.json": canonicalJSON(frontierValue(l.tree(from))), "keys.json": l.keys(),
	}
	if from > 0 {
		m["checkpoint.prev"] = l.checkpoint(from)
		leaves := make([]digest, to)
		for i := range leaves {
			leaves[i] = leafHash(l.entries[i].envelope)
		}
		proof := ""
		for _, h := range consistencyPath(leaves, from, true) {
			proof += base64Of(h[:]) + "\n"
		}
		m["consistency"] = []byte(proof)
	}
	for name, content := range l.files {
		m[name] = content
	}
	var lines []byte
	kinds, verdicts := map[string]uint64{}, map[string]uint64{}
	for _, e := range l.entries[from:to] {
		lines = append(append(lines, e.envelope...), '\n')
		kinds[e.kind]++
		if e.verdict != "" {
			verdicts[e.verdict]++
		}
	}
	m["receipts.jsonl"] = lines
	about, _, _ := parseJSON([]byte(testAbout), smallJSON)
	root := l.tree(to).root()
	doc := object(
		member{"about", about}, member{"chain", text(hexOf(l.entries[to-1].chain))}, member{"created", text(testTime(to - 1))},
		member{"files", listing(m)}, member{"from", text(formatDecimal(from))}, member{"kinds", countsOf(kinds)},
		member{"log", text(l.origin)}, member{"prev", text(hexOf(l.entries[from].prev))}, member{"root", text(hexOf(root))},
		member{"to", text(formatDecimal(to))}, member{"v", text(formatVersion)}, member{"verdicts", countsOf(verdicts)})
	m["manifest.json"] = canonicalJSON(doc)
	l.signManifest(m)
	return m
}

func listing(m map[string][]byte) *value {
	files := list()
	for _, name := range sortedNames(m) {
		if name == memberManifest || name == memberStatement || name == memberCustody {
			continue
		}
		sum := blake3.Sum256(m[name])
		files.list = append(files.list, object(
			member{"blake3", text(hexOf(sum))}, member{"path", text(name)}, member{"sha256", text(sha256Hex(m[name]))},
			member{"size", num(int64(len(m[name])))}))
	}
	return files
}

// relist makes the manifest agree with the members again.
func (l *testLog) relist(m map[string][]byte) {
	doc, _, _ := parseJSON(m[memberManifest], largeJSON)
	for i := range doc.object {
		if doc.object[i].name == "files" {
			doc.object[i].value = listing(m)
		}
	}
	m[memberManifest] = canonicalJSON(doc)
	l.signManifest(m)
}

func (l *testLog) signManifest(m map[string][]byte) {
	read := readManifest(m[memberManifest], func(string, string) {})
	payload := read.statement()
	m[memberStatement] = appendEnvelope(nil, payload, typeStatement, l.log.keyID(), l.log.sign(pae(typeStatement, payload)))
}

func sortedNames(m map[string][]byte) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func tarOf(m map[string][]byte) []byte {
	var out []byte
	for _, name := range sortedNames(m) {
		h := make([]byte, tarBlock)
		copy(h, name)
		copy(h[100:], "0000644")
		copy(h[108:], "0000000")
		copy(h[116:], "0000000")
		copy(h[124:], fmt.Sprintf("%011o", len(m[name])))
		copy(h[136:], "00000000000")
		copy(h[148:], "        ")
		h[156] = '0'
		copy(h[257:], "ustar\x0000")
		copy(h[329:], "0000000")
		copy(h[337:], "0000000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		out = append(append(out, h...), m[name]...)
		out = append(out, make([]byte, -len(m[name])&(tarBlock-1))...)
	}
	return append(out, make([]byte, 2*tarBlock)...)
}

func compress(plain []byte) []byte {
	w, _ := zstd.NewWriter(nil, zstd.WithEncoderCRC(true), zstd.WithWindowSize(1<<20), zstd.WithEncoderConcurrency(1))
	out := w.EncodeAll(plain, nil)
	w.Close()
	return out
}

func decompressed(frame []byte) []byte {
	r, _ := zstd.NewReader(nil)
	defer r.Close()
	plain, _ := r.DecodeAll(frame, nil)
	return plain
}

// segment writes receipts [from, to) as a segment, with a seal where asked.
func (l *testLog) segment(number, from, to uint64, sealed bool) []byte {
	h := make([]byte, segmentHeaderBytes)
	copy(h, "PEFWAL\x00\x00")
	binary.BigEndian.PutUint32(h[8:], 1)
	binary.BigEndian.PutUint32(h[12:], segmentHeaderBytes)
	origin := sha256.Sum256([]byte(l.origin))
	copy(h[16:], origin[:])
	binary.BigEndian.PutUint64(h[48:], number)
	binary.BigEndian.PutUint64(h[56:], from)
	chain := l.entries[0].prev
	if from > 0 {
		chain = l.entries[from-1].chain
	}
	copy(h[64:], chain[:])
	sum := blake3.Sum256(h[:4064])
	copy(h[4064:], sum[:])
	out := h
	for _, e := range l.entries[from:to] {
		out = append(out, frameBytes(frameReceipt, e.seq, e.chain, e.body, e.sig)...)
		chain = e.chain
	}
	if sealed {
		body := canonicalJSON(object(member{"bytes", text(formatDecimal(uint64(len(out))))},
			member{"chain", text(hexOf(chain))}, member{"receipts", text(formatDecimal(to - from))}))
		out = append(out, frameBytes(frameSeal, to, chain, body, nil)...)
	}
	return out
}

func frameBytes(kind byte, seq uint64, chain digest, body, sig []byte) []byte {
	h := make([]byte, frameHeaderBytes)
	copy(h, "PEFR\x01")
	h[5] = kind
	binary.BigEndian.PutUint32(h[8:], uint32(len(body)))
	binary.BigEndian.PutUint16(h[12:], uint16(len(sig)))
	binary.BigEndian.PutUint64(h[16:], seq)
	binary.BigEndian.PutUint64(h[24:], ^uint64(0))
	copy(h[32:], chain[:])
	out := append(append(h, body...), sig...)
	binary.BigEndian.PutUint32(h[64:], 0)
	crc := crc32.Checksum(out, castagnoli)
	binary.BigEndian.PutUint32(out[64:], crc)
	return append(out, make([]byte, -len(out)&7)...)
}

// dataDirectory writes a data directory without bundles; segments end before the numbers given.
func (l *testLog) dataDirectory(t testing.TB, ends ...uint64) string {
	dir := t.TempDir()
	files := map[string][]byte{"keys/root.vkey": []byte(l.root.vkey() + "\n")}
	for _, c := range l.certs {
		e, _ := readEnvelope(c)
		body, _, _ := parseJSON(e.payload, smallJSON)
		from, _ := body.decimalOf("valid_from_seq")
		purpose, _ := body.textOf("purpose")
		folder := map[string]string{purposeLog: "logs", purposeReceipt: "receipts"}[purpose]
		files[fmt.Sprintf("keys/%s/%020d.json", folder, from)] = canonicalJSON(c)
	}
	from := uint64(0)
	for i, to := range ends {
		files[fmt.Sprintf("journal/seg-%020d.pefwal", from)] = l.segment(uint64(i), from, to, true)
		from = to
	}
	files[fmt.Sprintf("checkpoints/%d", from)] = l.checkpoint(from)
	writeFiles(t, dir, files)
	return dir
}

func writeFiles(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func writeTemp(t testing.TB, name string, content []byte) string {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, map[string][]byte{name: content})
	return filepath.Join(dir, name)
}

// smallLog is a log of two exchanges.
func smallLog() *testLog {
	l := newTestLog()
	l.begin()
	l.exchange()
	l.exchange()
	l.event("heartbeat", member{"receipts", num(7)})
	return l
}

// found verifies and gives the findings as "code severity path seq" lines.
func found(t testing.TB, options Options, paths ...string) []string {
	t.Helper()
	v, err := Verify(paths, options)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range v.Findings {
		line := f.Code + " " + string(f.Severity) + " " + f.Path
		if f.HasSeq {
			line += " " + formatDecimal(f.Seq)
		}
		out = append(out, line)
	}
	return out
}

func expect(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("found:\n  %s\nwanted:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
