package pef

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lukechampine.com/blake3"
)

// Public suites, which are no part of this repository: they are looked for in $CLYRA_SHARED_DATA, or else in shared/data
// beside the clone. Without them these tests are skipped, and tests/scripts/shared-data.sh says so.

func suite(t *testing.T, path ...string) string {
	t.Helper()
	root := os.Getenv("CLYRA_SHARED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "..", "shared", "data")
	}
	whole := filepath.Join(append([]string{root, "vectors"}, path...)...)
	if _, err := os.Stat(whole); err != nil {
		t.Skipf("no public suite at %s", whole)
	}
	return whole
}

func suiteJSON(t *testing.T, into any, path ...string) {
	t.Helper()
	data, err := os.ReadFile(suite(t, path...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	out, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	out, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func toDigest(b []byte) (d digest) {
	copy(d[:], b)
	return d
}

// The column of CCTV that says which of its 914 signatures are accepted was not given by its authors. It is fixed in
// testdata/cctv-ed25519.txt, a line of 64 cases each, 1 for accepted: the ordinary verify of Go, of ed25519-dalek and of
// Node agree on it.
func TestCCTVEd25519(t *testing.T) {
	var cases []struct{ Key, Sig, Msg string }
	suiteJSON(t, &cases, "cctv-ed25519", "ed25519", "ed25519vectors.json")
	var column strings.Builder
	accepted := 0
	for i, c := range cases {
		key := publicKey{pub: unhex(t, c.Key)}
		bit := byte('0')
		if key.verify([]byte(c.Msg), unhex(t, c.Sig)) {
			bit = '1'
			accepted++
		}
		column.WriteByte(bit)
		if i%64 == 63 || i == len(cases)-1 {
			column.WriteByte('\n')
		}
	}
	if len(cases) != 914 || accepted != 208 {
		t.Errorf("%d of %d accepted, wanted 208 of 914", accepted, len(cases))
	}
	frozen, err := os.ReadFile(filepath.Join("testdata", "cctv-ed25519.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if column.String() != string(frozen) {
		t.Error("the column differs from testdata/cctv-ed25519.txt")
	}
}

func TestWycheproofEd25519(t *testing.T) {
	var file struct {
		TestGroups []struct {
			PublicKey struct{ PK string }
			Tests     []struct {
				TcID             int
				Msg, Sig, Result string
			}
		}
	}
	suiteJSON(t, &file, "wycheproof", "testvectors_v1", "ed25519_test.json")
	n := 0
	for _, g := range file.TestGroups {
		key := publicKey{pub: unhex(t, g.PublicKey.PK)}
		for _, c := range g.Tests {
			n++
			if got := key.verify(unhex(t, c.Msg), unhex(t, c.Sig)); got != (c.Result == "valid") {
				t.Errorf("case %d: %v, wanted %s", c.TcID, got, c.Result)
			}
		}
	}
	if n != 151 {
		t.Errorf("%d cases, wanted 151", n)
	}
}

func TestBLAKE3(t *testing.T) {
	var file struct {
		Key     string
		Context string `json:"context_string"`
		Cases   []struct {
			InputLen  int    `json:"input_len"`
			Hash      string `json:"hash"`
			KeyedHash string `json:"keyed_hash"`
			DeriveKey string `json:"derive_key"`
		}
	}
	suiteJSON(t, &file, "blake3", "test_vectors", "test_vectors.json")
	for _, c := range file.Cases {
		input := make([]byte, c.InputLen)
		for i := range input {
			input[i] = byte(i % 251)
		}
		h := newHashing(bytes.NewReader(input))
		if _, err := h.sha.Write(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := h.blake3.Write(input); err != nil {
			t.Fatal(err)
		}
		if got := h.facts().blake3; hexOf(got) != c.Hash[:64] {
			t.Errorf("hash of %d bytes", c.InputLen)
		}
		if got := derive(file.Context, input); hexOf(got) != c.DeriveKey[:64] {
			t.Errorf("derived key of %d bytes", c.InputLen)
		}
		keyed := blake3.New(32, []byte(file.Key))
		if _, err := keyed.Write(input); err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(keyed.Sum(nil)) != c.KeyedHash[:64] {
			t.Errorf("keyed hash of %d bytes", c.InputLen)
		}
	}
	if len(file.Cases) != 35 {
		t.Errorf("%d cases, wanted 35", len(file.Cases))
	}
}

// The documents of RFC 8785's author: what keeps to the restrictions of SPEC §2 must come out byte for byte, what does
// not must be refused with the right code.
func TestRFC8785(t *testing.T) {
	want := map[string]string{
		"arrays": "", "french": codeUTF8, "structures": codeNumber, "unicode": "", "values": codeNumber,
		"weird": codeUTF8,
	}
	dir := suite(t, "rfc8785-cyberphone", "testdata")
	n := 0
	for name, code := range want {
		input, err := os.ReadFile(filepath.Join(dir, "input", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		output, err := os.ReadFile(filepath.Join(dir, "output", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		n++
		v, _, got := parseJSON(input, smallJSON)
		if got != code {
			t.Errorf("%s: %q, wanted %q", name, got, code)
		}
		if code != "" {
			continue
		}
		if !bytes.Equal(canonicalJSON(v), output) {
			t.Errorf("%s: other bytes", name)
		}
		if _, canonical, code := parseJSON(output, smallJSON); code != "" || !canonical {
			t.Errorf("%s: the canonical text is not taken for one", name)
		}
	}
	if n != 6 {
		t.Errorf("%d documents", n)
	}
}

func TestSignedNotes(t *testing.T) {
	var cases []struct {
		Name     string
		VKeys    []string
		Note     string
		OK       bool
		Verified []string
	}
	suiteJSON(t, &cases, "signed-note", "extracted.json")
	for _, c := range cases {
		n, ok := parseNote([]byte(c.Note))
		good := 0
		keys := map[string]publicKey{}
		for _, s := range c.VKeys {
			k, parsed := parseVKey(s, algEd25519)
			if !parsed {
				t.Fatalf("%s: %s", c.Name, s)
			}
			id := k.name + hexOf(k.id)[:8]
			if _, twice := keys[id]; twice {
				ok = false // two keys of one name and hash: which one is meant cannot be known
			}
			keys[id] = k
		}
		for _, line := range n.signatures {
			for _, k := range keys {
				if k.name == line.name && k.hash() == line.hash {
					if k.verify(n.text, line.sig) {
						good++
					} else {
						ok = false
					}
				}
			}
		}
		if got := ok && good > 0; got != c.OK {
			t.Errorf("%s: %v, wanted %v", c.Name, got, c.OK)
		}
	}
	if len(cases) != 7 {
		t.Errorf("%d notes, wanted 7", len(cases))
	}
}

func jsonFiles(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".json") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

type merkleCase struct {
	LeafIdx, TreeSize, Size1, Size2 uint64
	Root, Root1, Root2, LeafHash    string
	Proof                           []string
	WantErr                         bool
}

func (c *merkleCase) path(t *testing.T) (path []digest, whole bool) {
	for _, s := range c.Proof {
		b := unbase64(t, s)
		if len(b) != sha256.Size {
			return nil, false
		}
		path = append(path, toDigest(b))
	}
	return path, true
}

func TestMerkleProofs(t *testing.T) {
	// Some cases have words in the place of hashes, where only their being the same or not matters.
	root := func(s string) digest {
		if b := unbase64(t, s); len(b) != sha256.Size {
			return sha256.Sum256(append([]byte("no hash:"), b...))
		}
		return toDigest(unbase64(t, s))
	}
	for kind, want := range map[string]int{"inclusion": 98, "consistency": 98} {
		files := jsonFiles(t, suite(t, "transparency-dev-merkle", "testdata", kind))
		for _, file := range files {
			var c merkleCase
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &c); err != nil {
				t.Fatal(err)
			}
			path, good := c.path(t)
			if kind == "inclusion" {
				good = good && len(unbase64(t, c.Root)) == sha256.Size && len(unbase64(t, c.LeafHash)) == sha256.Size
			}
			switch {
			case !good:
			case kind == "inclusion":
				good = verifyInclusion(root(c.LeafHash), c.LeafIdx, c.TreeSize, path, root(c.Root))
			default:
				good = verifyConsistency(c.Size1, c.Size2, path, root(c.Root1), root(c.Root2))
			}
			if good == c.WantErr {
				t.Errorf("%s: accepted %v, wanted %v", file, good, !c.WantErr)
			}
		}
		if len(files) != want {
			t.Errorf("%d cases of %s, wanted %d", len(files), kind, want)
		}
	}
}

func TestRFC6962(t *testing.T) {
	var roots struct {
		LeafInputs []string `json:"leaf_inputs_hex"`
		Roots      []string `json:"roots_by_size"`
	}
	suiteJSON(t, &roots, "rfc6962", "roots.json")
	f := frontier{}
	for size, want := range roots.Roots {
		if got := hexOf(f.root()); got != want || !f.whole() {
			t.Errorf("root of %d leaves: %s", size, got)
		}
		if size < len(roots.LeafInputs) {
			f.add(leafHash(unhex(t, roots.LeafInputs[size])))
		}
	}
	var ct struct {
		Consistency []struct {
			Size1, Size2 uint64
			Root1, Root2 string
			Proof        []string
		}
	}
	suiteJSON(t, &ct, "rfc6962", "rfc6962_ct.json")
	for i, c := range ct.Consistency {
		var path []digest
		for _, s := range c.Proof {
			path = append(path, toDigest(unhex(t, s)))
		}
		if !verifyConsistency(c.Size1, c.Size2, path, toDigest(unhex(t, c.Root1)), toDigest(unhex(t, c.Root2))) {
			t.Errorf("consistency %d", i)
		}
	}
	if len(ct.Consistency) != 4 {
		t.Errorf("%d consistency proofs", len(ct.Consistency))
	}
}

// Files of the OpenTimestamps client: those that it calls invalid are refused, and so is what uses operations that
// anchors of notes have no need of; nothing makes the reader fail in another way.
func TestOpenTimestampsFiles(t *testing.T) {
	dir := suite(t, "opentimestamps", "examples")
	want := map[string]bool{
		"two-calendars.txt.ots": true, "incomplete.txt.ots": true, "unknown-notary.txt.ots": true,
		"exceeds-max-msg-length.ots": false, "invalid-file-digest-type.ots": false, "bad-major-version.ots": false,
	}
	met := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".ots") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		v := &verification{}
		imprint := digest{}
		if len(data) >= 65 {
			imprint = toDigest(data[33:65])
		}
		c := &anchorCheck{s: &stream{v: v}, event: object(), path: "p", imprint: imprint}
		c.openTimestamps(data)
		if good, known := want[filepath.Base(path)]; known {
			met++
			if v.findings.errors == good {
				t.Errorf("%s: refused %v", path, v.findings.errors)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if met != len(want) {
		t.Errorf("met %d of %d files", met, len(want))
	}
}

// A response with certificates that somebody put in has the form that is asked for: only its signature is bad, and that
// is for others to check.
func TestTimeStampResponse(t *testing.T) {
	data, err := os.ReadFile(suite(t, "rfc3161", "pkg", "verification", "testdata", "response-injected-certs.tsr"))
	if err != nil {
		t.Fatal(err)
	}
	for size := range data {
		check := &anchorCheck{s: &stream{v: &verification{}}, event: object(), path: strconv.Itoa(size)}
		check.timeStamp(data[:size])
		if _, refused := check.s.v.findings.met[Finding{Code: codeTSA, Severity: Error, HasSeq: true, Path: check.path}]; !refused {
			t.Errorf("%d of %d bytes are taken for a response", size, len(data))
		}
	}
	if tstInfo(data) == nil {
		t.Error("the whole response is refused")
	}
}
