package pef

import (
	"crypto/ed25519"
	"strings"
	"testing"
)

// SPEC §11.
func TestWorkedExample(t *testing.T) {
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(i)
	}
	private := ed25519.NewKeyFromSeed(seed)
	key := signer{newPublicKey("example.com/log/receipt", private.Public().(ed25519.PublicKey)), private}
	body := []byte(`{"seq":"7"}`)
	sig := key.sign(pae(typeReceipt, body))
	chain := chainValue(7, body)
	for what, pair := range map[string][2]string{
		"key_id":    {key.keyID(), "eed72e8aee06bcf40c88b78bb0ae09fe9fdea93327586ae50523714e30815a0b"},
		"chain":     {hexOf(chain), "fb5c5ef90f9546f581c7918075764fe841bff2dfa8bfb3e4d4fd25a2108434f8"},
		"signature": {hexOf(toDigest(sig)) + hexOf(toDigest(sig[32:])), "66cb5769269bd880f53b8a9609af187577ba2e298b02681f9fa7de305b59ec2dc6bcc46bac36ea855904de9145d7f90ba0f91f12efa8a1953e26cb1a6d4fd40b"},
		"leaf hash": {hexOf(leafHash(appendEnvelope(nil, body, typeReceipt, key.keyID(), sig))), "04c7fe9ef98db15e84e246a0b9df0be04b6a3a09128525c62655cdf279672dd2"},
		"genesis":   {hexOf(derive(contextGenesis, []byte(`{"a":1}`))), "08968c6554b893787928321c51e3fd446b8ba21e9922b01a973065b7600cd036"},
		"run":       {hexOf(derive(contextRun, []byte("r"))), "a4acdf1e375c0eedd9d3d38bcf4b224c0a0cdb40afddca44147460af91287419"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %s, wanted %s", what, pair[0], pair[1])
		}
	}
}

func TestJSONFaults(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for document, want := range map[string]string{
		``: codeJSON, ` `: codeJSON, `{`: codeJSON, `nul`: codeJSON, `{"a":1}x`: codeJSON, `{"a" 1}`: codeJSON,
		`[1,]`: codeJSON, `{"a":1,}`: codeJSON, `{a:1}`: codeJSON, "\xef\xbb\xbf1": codeJSON, `01`: codeJSON, `-`: codeJSON,
		`-01`: codeJSON, `+1`: codeJSON, `.5`: codeJSON, `1a`: codeJSON, "\"\x01\"": codeJSON, `"\x"`: codeJSON,
		`"\u00g0"`: codeJSON, `"a`: codeJSON, `"\`: codeJSON,
		`1.5`: codeNumber, `1.`: codeNumber, `1e3`: codeNumber, `1E`: codeNumber, `-0`: codeNumber,
		`9007199254740992`: codeNumber, `-9007199254740992`: codeNumber, `99999999999999999999999`: codeNumber,
		"\"\xff\"": codeUTF8, "1\xff": codeUTF8, `"\ud800"`: codeUTF8, `"\ud800\u0041"`: codeUTF8, `"\udc00"`: codeUTF8,
		"\"\xed\xa0\x80\"": codeUTF8, `{"é":1}`: codeUTF8, `{"\u00e9":1}`: codeUTF8,
		`{"a":1,"a":2}`: codeDupKey, `{"a":1,"\u0061":2,"b":1.5}`: codeDupKey, `{"a":1,"a":1.5`: codeDupKey,
		`{"a":1.5,"a":1}`: codeNumber,
		deep(33):          codeLimit,
		"[" + strings.Repeat("1,", 32_767) + "1]": codeLimit,
		`"` + strings.Repeat("a", 65_535) + `"`:   codeLimit,
	} {
		if _, _, got := parseJSON([]byte(document), smallJSON); got != want {
			t.Errorf("%.40q: %q, wanted %q", document, got, want)
		}
	}
	for _, document := range []string{
		`9007199254740991`, `-9007199254740991`, deep(32), "[" + strings.Repeat("1,", 32_766) + "1]",
		`"` + strings.Repeat("a", 65_534) + `"`, `{"a":[],"b":{},"c":null,"d":true,"e":false}`, "\"\\u001f\\b\\t\\n\\f\\r\\\"\\\\/\u2028\"",
	} {
		if _, canonical, code := parseJSON([]byte(document), smallJSON); code != "" || !canonical {
			t.Errorf("%.40q: %q, canonical %v", document, code, canonical)
		}
	}
	for _, document := range []string{` 1`, "1\n", `{"b":1,"a":2}`, `"\u0041"`, `"\/"`, `"\u001F"`, `[1, 2]`, `"\u000a"`} {
		if _, canonical, code := parseJSON([]byte(document), smallJSON); code != "" || canonical {
			t.Errorf("%.40q: %q, canonical %v", document, code, canonical)
		}
	}
}

// The many members of a large object are compared with a map; the border between the two ways is crossed here.
func TestRepeatedNamesInLargeObjects(t *testing.T) {
	for _, n := range []int{1, linearNames - 1, linearNames, linearNames + 1, 100} {
		var b strings.Builder
		b.WriteByte('{')
		for i := 0; i < n; i++ {
			b.WriteString(`"k` + formatDecimal(uint64(i)) + `":1,`)
		}
		for _, last := range []struct{ name, code string }{{"z", ""}, {"k0", codeDupKey}, {"k" + formatDecimal(uint64(n-1)), codeDupKey}} {
			document := b.String() + `"` + last.name + `":1}`
			if _, _, got := parseJSON([]byte(document), smallJSON); got != last.code {
				t.Errorf("%d members and %s: %q", n, last.name, got)
			}
		}
	}
}

func TestWeakKeys(t *testing.T) {
	for _, s := range []string{
		// Points of small order, with either sign.
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		// y is the prime and more: the same points in another spelling.
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		// No point of the curve has this y.
		"0200000000000000000000000000000000000000000000000000000000000000",
	} {
		if !weakKey(unhex(t, s)) {
			t.Errorf("%s is taken", s)
		}
	}
	for seed := byte(0); seed < 64; seed++ {
		if k := newSigner("n", seed); weakKey(k.pub) {
			t.Errorf("the key of seed %d is refused", seed)
		}
	}
}

func TestVerifierKeys(t *testing.T) {
	k := newSigner("example.com/log/root", 1)
	good := k.vkey()
	if got, ok := parseVKey(good, algEd25519); !ok || got.id != k.id {
		t.Fatal(good)
	}
	for _, bad := range []string{
		"", "+", "++", good[1:], strings.ToUpper(good), strings.Replace(good, "+", "-", 1), good + "=", good + " ",
		strings.Replace(good, "example", "exa mple", 1),
	} {
		if _, ok := parseVKey(bad, algEd25519); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, ok := parseVKey(good, algCosignature); ok {
		t.Error("a key is taken for one of another algorithm")
	}
}

func TestFixedTexts(t *testing.T) {
	for s, want := range map[string]bool{
		"0": true, "7": true, "18446744073709551615": true, "18446744073709551616": false, "": false, "00": false, "01": false,
		"-1": false, "+1": false, "1 ": false, "99999999999999999999": false, "٣": false,
	} {
		if _, ok := parseDecimal(s); ok != want {
			t.Errorf("decimal %q: %v", s, ok)
		}
	}
	for s, want := range map[string]bool{"": true, "AA==": true, "AB==": false, "AA=": false, "AA": false, "AAA=": true, "AA==\n": false, "A-A=": false} {
		if _, ok := parseBase64(s); ok != want {
			t.Errorf("base64 %q: %v", s, ok)
		}
	}
	for s, want := range map[string]bool{
		"2026-11-21T03:41:04.123456Z": true, "2026-11-21T03:41:04.12345Z": false, "2026-11-21t03:41:04.123456Z": false,
		"2026-11-21T03:41:04.123456+": false, "2026-11-21T03:41:04,123456Z": false,
	} {
		if isTimestamp(s) != want {
			t.Errorf("timestamp %q", s)
		}
	}
}

func TestFindingsAreSortedBoundedAndOnce(t *testing.T) {
	l := findings{}
	for round := 0; round < 2; round++ {
		for seq := uint64(25_000); seq > 0; seq-- {
			l.add(Finding{Code: codeReceiptSig, Severity: Error, Seq: seq, HasSeq: true, Path: "p"})
		}
	}
	l.add(Finding{Code: codeTornTail, Severity: Warning, Path: "p"})
	l.add(Finding{Code: codeMissingFile, Severity: Error, Path: "p"})
	l.add(Finding{Code: codeMissingFile, Severity: Error, Path: "p"})
	got := l.sorted()
	if len(got) != FindingsMax || got[0].Code != codeTornTail || got[1].Code != codeMissingFile || got[2].Seq != 1 ||
		got[FindingsMax-1].Seq != FindingsMax-2 {
		t.Errorf("%d findings, first %v, last %v", len(got), got[:3], got[len(got)-1])
	}
	if want := uint64(2 * (25_000 - (FindingsMax - 2))); l.dropped != want {
		t.Errorf("%d dropped, wanted %d", l.dropped, want)
	}
}

func TestTreesAndProofs(t *testing.T) {
	var leaves []digest
	f := frontier{}
	for n := uint64(1); n <= 70; n++ {
		leaf := leafHash([]byte{byte(n)})
		leaves = append(leaves, leaf)
		f.add(leaf)
		root := treeRoot(leaves)
		if f.root() != root || !f.whole() {
			t.Fatalf("root of %d leaves", n)
		}
		for i := uint64(0); i < n; i++ {
			path := inclusionPath(leaves, i)
			if !verifyInclusion(leaves[i], i, n, path, root) {
				t.Errorf("leaf %d of %d", i, n)
			}
			if n > 1 && (verifyInclusion(leaves[i], (i+1)%n, n, path, root) || verifyInclusion(leaves[i], i, n, path[1:], root)) {
				t.Errorf("leaf %d of %d stands elsewhere too", i, n)
			}
			before := treeRoot(leaves[:i+1])
			proof := consistencyPath(leaves, i+1, true)
			if !verifyConsistency(i+1, n, proof, before, root) {
				t.Errorf("consistency of %d and %d", i+1, n)
			}
			if verifyConsistency(i+1, n, append(proof, leaf), before, root) {
				t.Errorf("consistency of %d and %d with more", i+1, n)
			}
		}
	}
}

func TestWitnessPolicies(t *testing.T) {
	key := func(seed byte) string {
		k := newSigner("w", seed)
		return "w+" + hexOf(noteKeyID("w", algCosignature, k.pub))[:8] + "+" + base64Of(append([]byte{algCosignature}, k.pub...))
	}
	a, b := "witness a "+key(11)+"\n", "witness b "+key(12)+" https://b\n"
	for policy, want := range map[string]bool{
		"quorum none\n":                              true,
		"# text\n\n \tquorum none":                   true,
		a + "quorum a\n":                             true,
		a + b + "group g 2 a b\nquorum g\n":          true,
		a + b + "group g any a b\nquorum g\n":        true,
		a + "log x\nquorum a\n":                      true,
		"":                                           false,
		a:                                            false,
		"quorum a\n" + a:                             false,
		a + a + "quorum a\n":                         false,
		a + "quorum a\nquorum a\n":                   false,
		a + b + "group g 3 a b\nquorum g\n":          false,
		a + b + "group g 0 a b\nquorum g\n":          false,
		a + "group g all a a\nquorum g\n":            false,
		a + "group g all\nquorum g\n":                false,
		a + "group none all a\nquorum none\n":        false,
		a + "group g all a\ngroup h all a\nquorum g": false,
		"witness a w+00000000+AAAA\nquorum a\n":      false,
		"quorum none\r\n":                            false,
		"words\nquorum none\n":                       false,
	} {
		if _, err := ParseWitnessPolicy([]byte(policy)); (err == nil) != want {
			t.Errorf("%q: %v", policy, err)
		}
	}
}
