package pef

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lukechampine.com/blake3"
)

// Bundles (SPEC §8, §9): the documents, then the receipts, then the files against the manifest, then the sizes.

const (
	bundleEnding     = ".pef"
	envelopeBytesMax = 65_535
	artifactBytesMax = 25 << 20
	lineReadBytes    = 128 << 10
	memberAnchorsDir = "anchors/"
	memberPolicies   = "policies/"
)

type bundle struct {
	path      string
	name      string
	directory bool
	order     int
	code      string // why the container is broken
	claimed   *manifest
}

// dataBundles lists the bundles of a data directory.
func dataBundles(data string) ([]*bundle, error) {
	var out []*bundle
	for _, name := range directoryNames(filepath.Join(data, "bundles")) {
		stem, ok := strings.CutSuffix(name, bundleEnding)
		from, to, cut := strings.Cut(stem, "-")
		_, okFrom := parseDecimal(from)
		_, okTo := parseDecimal(to)
		path := filepath.Join(data, "bundles", name)
		if ok && cut && okFrom && okTo && isFile(path) {
			out = append(out, &bundle{path: path, name: "bundles/" + name})
		}
	}
	return out, nil
}

// verifyBundles puts the bundles in order, and checks those that continue each other as one stream.
func (v *verification) verifyBundles(bundles []*bundle) {
	for i, b := range bundles {
		b.order = i
		b.scan()
	}
	slices.SortStableFunc(bundles, func(a, b *bundle) int {
		switch {
		case a.claimed == nil && b.claimed == nil:
			return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.order, b.order))
		case a.claimed == nil:
			return -1
		case b.claimed == nil:
			return 1
		}
		return cmp.Or(cmp.Compare(a.claimed.log, b.claimed.log), cmp.Compare(a.claimed.from, b.claimed.from),
			cmp.Compare(a.name, b.name), cmp.Compare(a.order, b.order))
	})
	var open *stream
	var before *manifest
	for _, b := range bundles {
		v.stats.Bundles++
		if b.code != "" {
			v.report(b.code, b.name)
			continue
		}
		v.cover(b)
		check := &bundleCheck{v: v, b: b, members: map[string]*memberFacts{}, content: map[string][]byte{},
			anchors: memberAnchors{}, before: before, open: open}
		if err := check.run(); err != nil {
			v.report(containerCode(err), b.name)
		}
		open, before = check.s, check.m
	}
	if open != nil {
		open.end()
	}
}

// scan goes through the container and reads what the manifest claims.
func (b *bundle) scan() {
	err := walkContainer(b.path, b.directory, func(name string, size uint64, content io.Reader) error {
		if name != memberManifest {
			return nil
		}
		data, err := io.ReadAll(content)
		if err != nil {
			return containerRead(err)
		}
		b.claimed = readManifest(data, func(string, string) {})
		return nil
	})
	if err != nil {
		b.code, b.claimed = containerCode(err), nil
	}
}

// cover notices receipts of a log that are in no bundle although later ones are.
func (v *verification) cover(b *bundle) {
	m := b.claimed
	if m == nil {
		return
	}
	reached, met := v.coverage[m.log]
	if met && m.from > reached {
		v.add(Finding{Code: codeSeqGap, Severity: Warning, Seq: reached, HasSeq: true, Path: b.name})
	}
	v.coverage[m.log] = max(reached, m.to)
}

type memberFacts struct {
	size           uint64
	sha256, blake3 digest
}

// bundleCheck is the check of one bundle.
type bundleCheck struct {
	v       *verification
	b       *bundle
	members map[string]*memberFacts
	content map[string][]byte
	anchors memberAnchors
	// before and open are the manifest and the stream of the bundle before, which this one may continue.
	before *manifest
	open   *stream

	ready    bool // the documents were looked at
	s        *stream
	t        *trust
	m        *manifest
	prev     *checkpoint
	note     *checkpoint
	frontier *frontier
	redacted map[string]bool
	// sawReceipts says that there is a receipts.jsonl.
	sawReceipts bool
}

func (c *bundleCheck) path(member string) string { return c.b.name + "/" + member }

// Documents that are held in memory while the receipts are read. All members but receipts and artifacts are bounded
// together by the container.
var heldMembers = map[string]bool{
	"checkpoint": true, "checkpoint.prev": true, "consistency": true, memberCustody: true, "externals.json": true,
	"frontier.json": true, "keys.json": true, memberManifest: true, memberStatement: true,
}

func (c *bundleCheck) run() error {
	err := walkContainer(c.b.path, c.b.directory, c.member)
	if err != nil {
		return err
	}
	c.prepare()
	c.checkFiles()
	c.checkSizes()
	return nil
}

// hashing computes the digests of what is read through it.
type hashing struct {
	in     io.Reader
	sha    hash.Hash
	blake3 *blake3.Hasher
	size   uint64
}

func newHashing(in io.Reader) *hashing {
	return &hashing{in: in, sha: sha256.New(), blake3: blake3.New(32, nil)}
}

func (h *hashing) Read(p []byte) (int, error) {
	n, err := h.in.Read(p)
	h.sha.Write(p[:n])
	h.blake3.Write(p[:n])
	h.size += uint64(n)
	return n, err
}

func (h *hashing) facts() *memberFacts {
	f := &memberFacts{size: h.size, sha256: sumOf(h.sha)}
	h.blake3.Sum(f.blake3[:0])
	return f
}

func (c *bundleCheck) member(name string, size uint64, content io.Reader) error {
	h := newHashing(content)
	anchor, isAnchor := strings.CutPrefix(name, memberAnchorsDir)
	var err error
	switch {
	case heldMembers[name]:
		c.content[name], err = io.ReadAll(h)
	case isAnchor:
		err = c.anchors.take(anchor, h)
	case name == memberReceipts:
		c.prepare()
		c.sawReceipts = true
		err = c.receipts(h)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, h)
	}
	if err != nil {
		return containerRead(err)
	}
	facts := h.facts()
	c.members[name] = facts
	c.checkNamed(name, facts)
	return nil
}

// checkNamed checks members whose names are digests of what they hold.
func (c *bundleCheck) checkNamed(name string, facts *memberFacts) {
	if hash, ok := strings.CutPrefix(name, memberArtifacts); ok {
		if hash != hexOf(facts.sha256) {
			c.v.report(codeArtDigest, c.path(name))
		}
		if facts.size > artifactBytesMax {
			c.v.report(codeArtSize, c.path(name))
		}
	}
	if file, ok := strings.CutPrefix(name, memberPolicies); ok {
		hash, isJSON := strings.CutSuffix(file, ".json")
		if isJSON && len(hash) == 64 && isLowerHex(hash) && hash != hexOf(facts.blake3) {
			c.v.report(codeArtDigest, c.path(name))
		}
	}
}

// prepare looks at the documents, once.
func (c *bundleCheck) prepare() {
	if c.ready {
		return
	}
	c.ready = true
	c.readTrust()
	c.readManifest()
	c.checkStatement()
	c.readFrontier()
	c.openStream()
	c.readNotes()
	c.checkConsistency()
	c.readCustody()
	c.checkExternals()
	c.s.anchors = newAnchorShelf(c.anchors, c.path(memberAnchorsDir))
	c.s.anchors.readNotes(c.s)
}

func (c *bundleCheck) readTrust() {
	data, ok := c.content["keys.json"]
	if !ok {
		c.v.report(codeMissingFile, c.path("keys.json"))
		return
	}
	t, codes := readTrust(data)
	for _, code := range codes {
		c.v.report(code, c.path("keys.json"))
	}
	if t != nil {
		c.t = t
		c.v.useTrust(t, c.path("keys.json"))
	}
}

func (c *bundleCheck) readManifest() {
	data, ok := c.content[memberManifest]
	if !ok {
		c.v.report(codeMissingFile, c.path(memberManifest))
		return
	}
	c.m = readManifest(data, func(code, pointer string) { c.v.report(code, c.path(memberManifest)+pointer) })
	if c.m != nil && c.t != nil && c.m.log != c.t.log {
		c.v.report(codeOrigin, c.path(memberManifest))
	}
}

func (c *bundleCheck) checkStatement() {
	path := c.path(memberStatement)
	data, ok := c.content[memberStatement]
	if !ok {
		c.v.report(codeMissingFile, path)
		return
	}
	doc, canonical, code := parseJSON(data, largeJSON)
	if code != "" {
		c.v.report(code, path)
		return
	}
	if !canonical {
		c.v.report(codeNotCanonical, path)
	}
	e, ok := readEnvelope(doc)
	if !ok {
		c.v.report(codeSchema, path)
		return
	}
	good := e.payloadType == typeStatement
	if c.m != nil && string(e.payload) != string(c.m.statement()) {
		good = false
	}
	if c.t != nil {
		key := c.t.keyOf(e.keyID, purposeLog)
		switch {
		case key == nil:
			c.v.report(codeKeyUnknown, path)
		default:
			if c.m != nil {
				if code := key.validForTree(c.m.to); code != "" {
					c.v.report(code, path)
				}
			}
			good = good && key.verify(pae(e.payloadType, e.payload), e.sig)
		}
	}
	if !good {
		c.v.report(codeManifestSig, path)
	}
}

func (c *bundleCheck) readFrontier() {
	path := c.path("frontier.json")
	data, ok := c.content["frontier.json"]
	if !ok {
		c.v.report(codeMissingFile, path)
		return
	}
	doc, ok := c.v.readDocument(data, smallJSON, frontierForm, path)
	if !ok {
		return
	}
	f, whole := readFrontier(doc)
	if !whole || c.m != nil && f.size != c.m.from {
		c.v.report(codeRoot, path)
		return
	}
	c.frontier = f
}

// openStream goes on with the stream of the bundle before where this one continues it, and begins another otherwise.
func (c *bundleCheck) openStream() {
	continues := c.open != nil && c.before != nil && c.m != nil && c.before.log == c.m.log && c.before.to == c.m.from &&
		c.frontier != nil && c.frontier.root() == c.before.root
	if continues {
		c.s = c.open
		c.s.trust = c.t
		if c.s.next != c.m.from {
			c.s.unlink()
			c.s.next = c.m.from
		}
		if c.s.linked && c.s.chain != c.m.prev {
			c.v.report(codePrev, c.path(memberManifest)+"#/prev")
		}
	} else {
		if c.open != nil {
			c.open.end()
		}
		c.s = newStream(c.v, c.t)
		if c.m != nil {
			c.s.beginAt(c.m.from)
		} else {
			c.s.beginAt(0)
		}
	}
	if c.m != nil && !c.s.linked {
		c.s.chain, c.s.linked = c.m.prev, c.m.from > 0
	}
	c.s.treeKnown = false
	if c.frontier != nil {
		c.s.setTree(c.frontier)
	}
	c.s.source(c.path(memberReceipts))
	c.s.resetCounts()
}

func (c *bundleCheck) readNotes() {
	prevPath := c.path("checkpoint.prev")
	if data, ok := c.content["checkpoint.prev"]; ok {
		c.prev = c.v.meetCheckpoint(data, c.t, prevPath, false)
		if c.prev != nil && (c.m != nil && c.prev.size != c.m.from ||
			c.frontier != nil && c.frontier.size == c.prev.size && c.frontier.root() != c.prev.root) {
			c.v.report(codeRoot, prevPath)
		}
	} else if c.m != nil && c.m.from > 0 {
		c.v.report(codeMissingFile, prevPath)
	}
	path := c.path("checkpoint")
	data, ok := c.content["checkpoint"]
	if !ok {
		c.v.report(codeMissingFile, path)
		return
	}
	c.note = c.v.meetCheckpoint(data, c.t, path, true)
	if c.note != nil && c.m != nil && (c.note.size != c.m.to || c.note.root != c.m.root) {
		c.v.report(codeRoot, path)
	}
}

// checkConsistency checks the proof from the checkpoint before to this one.
func (c *bundleCheck) checkConsistency() {
	path := c.path("consistency")
	data, ok := c.content["consistency"]
	if !ok {
		if c.m != nil && c.m.from > 0 {
			c.v.report(codeMissingFile, path)
		}
		return
	}
	if c.prev == nil || c.note == nil {
		return
	}
	proof, ok := hashLines(string(data))
	if !ok || !verifyConsistency(c.prev.size, c.note.size, proof, c.prev.root, c.note.root) {
		c.v.report(codeConsistency, path)
	}
}

// Longest proof in a tree of fewer than 2^64 leaves, for consistency one more.
const proofHashesMax = 65

// hashLines reads one base64 hash a line, each with its newline.
func hashLines(s string) (hashes []digest, ok bool) {
	for s != "" {
		line, rest, found := strings.Cut(s, "\n")
		hash, good := parseBase64(line)
		if !found || !good || len(hash) != sha256.Size || len(hashes) == proofHashesMax {
			return nil, false
		}
		hashes = append(hashes, digest(hash))
		s = rest
	}
	return hashes, true
}

func (c *bundleCheck) readCustody() {
	data, ok := c.content[memberCustody]
	raw, haveManifest := c.content[memberManifest]
	log := ""
	switch {
	case c.t != nil:
		log = c.t.log
	case c.m != nil:
		log = c.m.log
	}
	if !ok || !haveManifest || log == "" {
		return
	}
	redacted, broken := readCustody(data, log, sha256.Sum256(raw))
	c.redacted = redacted
	if broken >= 0 {
		c.v.report(codeCustody, c.path(memberCustody)+"#"+strconv.Itoa(broken))
	}
}

var externalsForm = listOf(exactly(
	req("blake3", digestText), req("media", isText), req("sha256", digestText), req("size", count), req("uri", isText)))

// checkExternals looks for the attached files that are too large for the bundle.
func (c *bundleCheck) checkExternals() {
	path := c.path("externals.json")
	data, ok := c.content["externals.json"]
	if !ok {
		return
	}
	doc, ok := c.v.readDocument(data, largeJSON, externalsForm, path)
	if !ok {
		return
	}
	before := ""
	folder := strings.TrimRight(c.b.path, "/") + ".externals"
	lookedFor := isDir(folder)
	for i, external := range doc.list {
		sha, _ := external.textOf("sha256")
		at := path + "#/" + strconv.Itoa(i)
		if sha <= before {
			c.v.report(codeSchema, path)
		}
		before = sha
		file, err := os.Open(filepath.Join(folder, sha))
		switch {
		case err == nil && isFile(filepath.Join(folder, sha)):
			c.checkExternal(file, external, at)
			file.Close()
			continue
		case err == nil:
			file.Close()
		}
		switch {
		case c.redacted[sha]:
			c.v.warn(codeTombstoned, at)
		case lookedFor:
			c.v.report(codeArtifact, at)
		default:
			c.v.warn(codeArtifact, at)
		}
	}
}

func (c *bundleCheck) checkExternal(file io.Reader, external *value, at string) {
	size := uint64(external.get("size").number)
	h := newHashing(io.LimitReader(file, int64(size)+1))
	if _, err := io.Copy(io.Discard, h); err != nil {
		c.v.report(codeArtifact, at)
		return
	}
	facts := h.facts()
	if facts.size != size {
		c.v.report(codeArtSize, at)
		return
	}
	sha, _ := external.textOf("sha256")
	blake, _ := external.textOf("blake3")
	if sha != hexOf(facts.sha256) || blake != hexOf(facts.blake3) {
		c.v.report(codeArtDigest, at)
	}
}

// receipts reads the envelopes, a line each.
func (c *bundleCheck) receipts(in io.Reader) error {
	lines := bufio.NewReaderSize(in, lineReadBytes)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) || err == nil && len(line)-1 > envelopeBytesMax ||
			err == io.EOF && len(line) > envelopeBytesMax:
			c.s.finding(codeLimit, Error, c.s.next, "")
			_, err := io.Copy(io.Discard, lines)
			return err
		case err == io.EOF && len(line) == 0:
			return nil
		case err == io.EOF:
			c.s.finding(codeJSON, Error, c.s.next, "")
			return nil
		case err != nil:
			return err
		}
		c.s.envelopeLine(line[:len(line)-1])
	}
}

// checkFiles holds the members against the manifest.
func (c *bundleCheck) checkFiles() {
	if c.members[memberReceipts] == nil {
		c.v.report(codeMissingFile, c.path(memberReceipts))
	}
	if c.m == nil {
		return
	}
	listed := make(map[string]bool, len(c.m.files))
	for _, f := range c.m.files {
		listed[f.path] = true
		facts := c.members[f.path]
		if facts == nil {
			if hash, ok := strings.CutPrefix(f.path, memberArtifacts); ok && c.redacted[hash] {
				c.v.warn(codeTombstoned, c.path(f.path))
			} else {
				c.v.report(codeMissingFile, c.path(f.path))
			}
			continue
		}
		if facts.size != f.size || facts.sha256 != f.sha256 || facts.blake3 != f.blake3 {
			c.v.report(codeFileDigest, c.path(f.path))
		}
	}
	for name := range c.members {
		if !listed[name] && name != memberManifest && name != memberStatement && name != memberCustody {
			c.v.report(codeUnexpected, c.path(name))
		}
	}
}

// checkSizes holds the receipts against what manifest and checkpoint say of them.
func (c *bundleCheck) checkSizes() {
	s := c.s
	if !c.sawReceipts {
		return
	}
	if c.m != nil {
		if !equalCounts(c.m.kinds, s.kinds) || !equalCounts(c.m.verdicts, s.verdicts) {
			c.v.report(codeCounts, c.path(memberManifest))
		}
		if s.placed && s.linked && s.chain != c.m.chain {
			c.v.report(codePrev, c.path(memberManifest)+"#/chain")
		}
	}
	if !s.treeKnown {
		return
	}
	path := c.path("checkpoint")
	against := func(size uint64, root digest) {
		switch {
		case size > s.tree.size:
			c.v.add(Finding{Code: codeTailShort, Severity: Error, Seq: s.next, HasSeq: true, Path: path})
		case size < s.tree.size || root != s.tree.root():
			c.v.report(codeRoot, path)
		}
	}
	if c.m != nil {
		against(c.m.to, c.m.root)
	}
	if c.note != nil {
		against(c.note.size, c.note.root)
	}
}

func equalCounts(a, b map[string]uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for name, n := range a {
		if m, ok := b[name]; !ok || m != n {
			return false
		}
	}
	return true
}
