package pef

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lukechampine.com/blake3"
)

// Journals (SPEC §6): segments, their headers and frames, and what stands beside them in a data directory.

const (
	segmentPrefix      = "seg-"
	segmentEnding      = ".pefwal"
	segmentHeaderBytes = 4_096
	frameHeaderBytes   = 72
	frameReceipt       = 1
	frameSeal          = 4
	frameBytesMax      = frameHeaderBytes + bodyBytesMax + signatureBytes + 8
	segmentReadBytes   = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	frontierForm = exactly(req("hashes", listOf(digestText)), req("size", decimalText))
	prunedForm   = exactly(req("chain", digestText), req("frontier", frontierForm), req("v", oneOf(formatVersion)))
	sealForm     = exactly(req("bytes", decimalText), req("chain", digestText), req("receipts", decimalText))
)

// segmentNumber reads the first sequence number out of a segment's name.
func segmentNumber(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, segmentPrefix)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, segmentEnding); !ok {
		return 0, false
	}
	return paddedNumber(digits)
}

// paddedNumber reads a number of exactly 20 digits.
func paddedNumber(digits string) (uint64, bool) {
	if len(digits) != 20 {
		return 0, false
	}
	trimmed := strings.TrimLeft(digits, "0")
	if trimmed == "" {
		trimmed = "0"
	}
	return parseDecimal(trimmed)
}

// directoryNames lists a directory, ascending. A directory that is not there is empty.
func directoryNames(path string) []string {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func hasSegments(path string) bool {
	return slices.ContainsFunc(directoryNames(path), func(name string) bool {
		_, ok := segmentNumber(name)
		return ok
	})
}

// journal is a journal that is being read.
type journal struct {
	v   *verification
	s   *stream
	dir string
	// number is that of the segment before; it is unknown at the beginning of a pruned journal and after a damaged
	// header.
	number      uint64
	numberKnown bool
}

// verifyJournal checks a journal, and when data is not empty everything but the bundles of that data directory.
func (v *verification) verifyJournal(dir, data string) {
	keys := filepath.Join(dir, "..", "keys")
	if data != "" {
		keys = filepath.Join(data, "keys")
	}
	t := v.readKeys(keys)
	j := &journal{v: v, s: newStream(v, t), dir: dir, numberKnown: true, number: ^uint64(0)}
	s := j.s
	s.beginAt(0)
	pruned := j.readPruned()
	if pruned {
		v.pruned = map[uint64]bool{}
		j.numberKnown = false
	} else {
		s.setTree(&frontier{})
	}
	begin := s.next
	if data != "" {
		v.readCheckpoints(s, data)
		s.anchors = newAnchorShelf(directoryAnchors(filepath.Join(data, "anchors")), "anchors/")
		s.anchors.readNotes(s)
	}
	j.readSegments(begin)
	s.end()
	for _, c := range s.claimed {
		if c.size > s.next {
			v.add(Finding{Code: codeTailShort, Severity: Error, Seq: s.next, HasSeq: true, Path: c.path})
		}
	}
	if t != nil && len(t.receipts) > 0 && t.receipts[len(t.receipts)-1].validFrom > s.next {
		v.add(Finding{Code: codeLostDurable, Severity: Error, Seq: s.next, HasSeq: true, Path: "journal"})
	}
	if pruned && !v.pruned[begin] {
		v.add(Finding{Code: codeSeqGap, Severity: Error, Seq: 0, HasSeq: true, Path: prunedPath})
	}
	v.pruned = nil
}

const (
	prunedPath = "journal/pruned.json"
	keysPath   = "keys"
)

// readPruned places the stream where a pruned journal begins.
func (j *journal) readPruned() bool {
	data, err := readBounded(filepath.Join(j.dir, "pruned.json"), smallJSON.bytes)
	if err != nil {
		return false
	}
	doc, ok := j.v.readDocument(data, smallJSON, prunedForm, prunedPath)
	if !ok {
		return false
	}
	f, ok := readFrontier(doc.get("frontier"))
	if !ok {
		j.v.report(codeRoot, prunedPath)
		return false
	}
	chain, _ := doc.textOf("chain")
	j.s.beginAt(f.size)
	j.s.chain, j.s.linked = mustDigest(chain), true
	j.s.setTree(f)
	return true
}

// readDocument reads a canonical document of a form and reports what is wrong with it.
func (v *verification) readDocument(data []byte, limits jsonLimits, form formOf, path string) (*value, bool) {
	doc, canonical, code := parseJSON(data, limits)
	if code != "" {
		v.report(code, path)
		return nil, false
	}
	if !canonical {
		v.report(codeNotCanonical, path)
	}
	ok := true
	form(doc, "", func(code, pointer string) {
		ok = false
		v.report(code, path+"#"+pointer)
	})
	return doc, ok
}

// mustDigest reads a digest whose form was checked.
func mustDigest(s string) digest {
	d, _ := parseDigest(s)
	return d
}

// readFrontier takes a frontier out of a document of its form; it fails when the number of hashes is not that of the
// size.
func readFrontier(v *value) (*frontier, bool) {
	f := &frontier{}
	f.size, _ = v.decimalOf("size")
	for _, h := range v.get("hashes").list {
		f.hashes = append(f.hashes, mustDigest(h.text))
	}
	return f, f.whole()
}

// readBounded reads a file that may have at most max bytes. One more is read of a longer one, so that readers see that
// it is too long.
func readBounded(path string, max int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, int64(max)+1))
}

// readKeys puts the trust file of a data directory together.
func (v *verification) readKeys(dir string) *trust {
	vkey, err := readBounded(filepath.Join(dir, "root.vkey"), noteBytesMax)
	if err != nil {
		v.report(codeMissingFile, keysPath)
		return nil
	}
	root, ok := parseVKey(strings.TrimSpace(string(vkey)), algEd25519)
	log, isRoot := strings.CutSuffix(root.name, "/root")
	if !ok || !isRoot || !isOrigin(log) || weakKey(root.pub) {
		v.report(codeSchema, keysPath)
		return nil
	}
	b := &trustBuilder{}
	b.beginWith(log, root)
	code := b.readFiles(dir)
	if code != "" {
		v.report(code, keysPath)
		return nil
	}
	t, codes := b.judge()
	if t == nil {
		b.t.void = true
		t = &b.t
	}
	for _, code := range codes {
		v.report(code, keysPath)
	}
	v.useTrust(t, keysPath)
	return t
}

// readFiles reads the certificates and revocations of a data directory. Each must be one by itself; whether the right
// key issued it is not asked yet.
func (b *trustBuilder) readFiles(dir string) string {
	numbered := func(stem string) bool { _, ok := paddedNumber(stem); return ok }
	isID := func(stem string) bool { return len(stem) == 64 && isLowerHex(stem) }
	for _, folder := range []struct {
		name  string
		max   int
		named func(stem string) bool
		take  func(*value) string
	}{
		{"logs", trustCertsMax, numbered, b.certificate},
		{"receipts", trustCertsMax, numbered, b.certificate},
		{"revoked", trustRevocationsMax, isID, b.revocation},
	} {
		files := 0
		for _, name := range directoryNames(filepath.Join(dir, folder.name)) {
			stem, isJSON := strings.CutSuffix(name, ".json")
			if !isJSON || !folder.named(stem) {
				continue
			}
			if files++; files > folder.max {
				return codeLimit
			}
			data, err := readBounded(filepath.Join(dir, folder.name, name), smallJSON.bytes)
			if err != nil {
				return codeMissingFile
			}
			doc, canonical, fault := parseJSON(data, smallJSON)
			if fault != "" || !canonical || folder.take(doc) != "" {
				return codeSchema
			}
			// A revocation lies under the id of its key.
			if folder.name == "revoked" && b.lastRevoked != stem {
				return codeSchema
			}
		}
		if files == 0 && folder.name == "logs" {
			return codeMissingFile
		}
	}
	return ""
}

// readCheckpoints meets the checkpoints of a data directory, ascending by size.
func (v *verification) readCheckpoints(s *stream, data string) {
	var sizes []uint64
	for _, name := range directoryNames(filepath.Join(data, "checkpoints")) {
		if size, ok := parseDecimal(name); ok {
			sizes = append(sizes, size)
		}
	}
	slices.Sort(sizes)
	for _, size := range sizes {
		name := formatDecimal(size)
		path := "checkpoints/" + name
		note, err := readBounded(filepath.Join(data, "checkpoints", name), noteBytesMax)
		if err != nil {
			v.report(codeMissingFile, path)
			continue
		}
		if c := v.meetCheckpoint(note, s.trust, path, false); c != nil {
			if c.size != size {
				v.report(codeRoot, path)
			}
			s.claim(claim{c.size, c.root, path})
		}
	}
}

type segmentFile struct {
	name  string
	first uint64
}

func (j *journal) readSegments(begin uint64) {
	var segments []segmentFile
	for _, name := range directoryNames(j.dir) {
		if first, ok := segmentNumber(name); ok {
			segments = append(segments, segmentFile{name, first})
		}
	}
	for i, segment := range segments {
		// What lies wholly before the beginning of a pruned journal is not looked at.
		if i+1 < len(segments) && segments[i+1].first <= begin {
			continue
		}
		j.readSegment(segment, i+1 == len(segments))
	}
}

func (j *journal) readSegment(segment segmentFile, last bool) {
	s := j.s
	s.source("journal/" + segment.name)
	j.v.stats.Segments++
	file, err := os.Open(filepath.Join(j.dir, segment.name))
	if err != nil {
		j.v.report(codeMissingFile, s.path())
		return
	}
	defer file.Close()
	reader := &segmentReader{file: bufio.NewReaderSize(file, segmentReadBytes)}
	header := make([]byte, segmentHeaderBytes)
	if _, err := io.ReadFull(reader.file, header); err != nil || !wholeHeader(header) {
		j.v.report(codeCorrupt, s.path())
		j.numberKnown = false
		return
	}
	reader.at = segmentHeaderBytes
	j.checkHeader(header, segment.first)
	j.readFrames(reader, file, last)
}

func wholeHeader(h []byte) bool {
	sum := blake3.Sum256(h[:4064])
	return string(h[:8]) == "PEFWAL\x00\x00" && binary.BigEndian.Uint32(h[8:]) == 1 &&
		binary.BigEndian.Uint32(h[12:]) == segmentHeaderBytes && allZero(h[120:4064]) && bytes.Equal(sum[:], h[4064:])
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (j *journal) checkHeader(h []byte, named uint64) {
	s := j.s
	if s.trust != nil {
		origin := sha256.Sum256([]byte(s.trust.log))
		if !bytes.Equal(origin[:], h[16:48]) {
			j.v.report(codeOrigin, s.path())
		}
	}
	number := binary.BigEndian.Uint64(h[48:])
	first := binary.BigEndian.Uint64(h[56:])
	good := first == named && (!j.numberKnown || number == j.number+1)
	if first == s.next && s.linked && !bytes.Equal(h[64:96], s.chain[:]) {
		good = false
	}
	if !good {
		s.finding(codeCorrupt, Error, named, "")
	}
	j.number, j.numberKnown = number, true
}

// frameHead is the fixed part of a frame.
type frameHead struct {
	kind    byte
	body    int
	sig     int
	seq     uint64
	chain   digest
	padding int
}

func (h *frameHead) rest() int { return h.body + h.sig + h.padding }

// parseFrameHead reads the fixed part, as far as it shows by itself that this is a frame.
func parseFrameHead(b []byte) (h frameHead, ok bool) {
	length := binary.BigEndian.Uint32(b[8:])
	h = frameHead{kind: b[5], sig: int(binary.BigEndian.Uint16(b[12:])), seq: binary.BigEndian.Uint64(b[16:])}
	copy(h.chain[:], b[32:64])
	if string(b[:4]) != "PEFR" || b[4] != 1 || b[6] != 0 || b[7] != 0 || length > bodyBytesMax ||
		binary.BigEndian.Uint32(b[68:72]) != 0 {
		return h, false
	}
	h.body = int(length)
	h.padding = -(frameHeaderBytes + h.body + h.sig) & 7
	switch h.kind {
	case frameReceipt:
		return h, h.sig == signatureBytes
	case frameSeal:
		return h, h.sig == 0
	}
	return h, false
}

// wholeFrame says whether head and rest, which has the length that the head says, are a whole frame.
func wholeFrame(head []byte, h *frameHead, rest []byte) bool {
	var zero [4]byte
	sum := crc32.Update(0, castagnoli, head[:64])
	sum = crc32.Update(sum, castagnoli, zero[:])
	sum = crc32.Update(sum, castagnoli, head[68:72])
	sum = crc32.Update(sum, castagnoli, rest[:h.body+h.sig])
	return sum == binary.BigEndian.Uint32(head[64:68]) && allZero(rest[h.body+h.sig:])
}

type segmentReader struct {
	file *bufio.Reader
	at   int64
	buf  [frameBytesMax]byte
}

// next reads a frame. It is whole, or ok is false; at the end of the file atEnd is true.
func (r *segmentReader) next() (h frameHead, body, sig []byte, ok, atEnd bool) {
	head := r.buf[:frameHeaderBytes]
	n, err := io.ReadFull(r.file, head)
	if err != nil {
		return h, nil, nil, false, err == io.EOF && n == 0
	}
	if h, ok = parseFrameHead(head); !ok {
		return h, nil, nil, false, false
	}
	rest := r.buf[frameHeaderBytes : frameHeaderBytes+h.rest()]
	if _, err := io.ReadFull(r.file, rest); err != nil || !wholeFrame(head, &h, rest) {
		return h, nil, nil, false, false
	}
	r.at += int64(frameHeaderBytes + h.rest())
	return h, rest[:h.body], rest[h.body : h.body+h.sig], true, false
}

func (j *journal) readFrames(r *segmentReader, file io.ReaderAt, last bool) {
	s := j.s
	receipts := uint64(0)
	sealed := false
	for {
		begin := r.at
		h, body, sig, ok, atEnd := r.next()
		switch {
		case atEnd:
			return
		case sealed || !ok && !last:
			s.finding(codeCorrupt, Error, s.next, "")
			return
		case !ok:
			if frameFollows(file, begin+8, s.next) {
				s.finding(codeCorrupt, Error, s.next, "")
			} else {
				s.finding(codeTornTail, Warning, s.next, "")
			}
			return
		case h.kind == frameSeal:
			sealed = true
			if !j.goodSeal(&h, body, begin, receipts) {
				s.finding(codeCorrupt, Error, s.next, "")
			}
		default:
			receipts++
			j.receiptFrame(&h, body, sig)
		}
	}
}

func (j *journal) receiptFrame(h *frameHead, body, sig []byte) {
	s := j.s
	keyID := ""
	if v, _, code := s.readBody(body); code == "" {
		keyID, _ = v.textOf("key_id")
	}
	envelope := appendEnvelope(nil, body, typeReceipt, keyID, sig)
	s.body(body, keyID, sig, true, &frame{h.seq, h.chain})
	s.leaf(leafHash(envelope))
}

func (j *journal) goodSeal(h *frameHead, body []byte, begin int64, receipts uint64) bool {
	s := j.s
	v, canonical, code := parseJSON(body, smallJSON)
	if code != "" || !canonical || !fits(sealForm, v) {
		return false
	}
	bytes, _ := v.decimalOf("bytes")
	count, _ := v.decimalOf("receipts")
	chain, _ := v.textOf("chain")
	return bytes == uint64(begin) && count == receipts && h.seq == s.next && hexOf(h.chain) == chain &&
		(!s.linked || h.chain == s.chain)
}

// frameFollows looks for a whole frame with a number of at least next at the multiples of 8 bytes from an offset on.
func frameFollows(file io.ReaderAt, from int64, next uint64) bool {
	magic := []byte("PEFR")
	window := make([]byte, segmentReadBytes)
	frame := make([]byte, frameBytesMax)
	for {
		n, err := file.ReadAt(window, from)
		if n < frameHeaderBytes {
			return false
		}
		for at := 0; at+frameHeaderBytes <= n; at += 8 {
			if !bytes.Equal(window[at:at+4], magic) {
				continue
			}
			h, ok := parseFrameHead(window[at : at+frameHeaderBytes])
			if !ok || h.seq < next {
				continue
			}
			whole := frame[:frameHeaderBytes+h.rest()]
			if got, _ := file.ReadAt(whole, from+int64(at)); got == len(whole) &&
				wholeFrame(whole[:frameHeaderBytes], &h, whole[frameHeaderBytes:]) {
				return true
			}
		}
		if err != nil {
			return false
		}
		from += int64((n-frameHeaderBytes)/8*8 + 8)
	}
}
