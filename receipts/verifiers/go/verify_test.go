package pef

import (
	"os"
	"path/filepath"
	"testing"
)

func TestGoodBundles(t *testing.T) {
	l := smallLog()
	n := uint64(len(l.entries))
	first := writeTemp(t, "a.pef", compress(tarOf(l.bundle(0, 3))))
	second := writeTemp(t, "b.pef", compress(tarOf(l.bundle(3, n))))
	expect(t, found(t, Options{Root: l.root.vkey()}, second, first))
	expect(t, found(t, Options{Checkpoint: l.checkpoint(3)}, second))
	dir := t.TempDir()
	writeFiles(t, dir, l.bundle(0, n))
	expect(t, found(t, Options{Root: l.root.vkey()}, dir))
}

func TestGoodDataDirectory(t *testing.T) {
	l := smallLog()
	n := uint64(len(l.entries))
	dir := l.dataDirectory(t, 4, n)
	writeFiles(t, dir, map[string][]byte{"bundles/0-4.pef": compress(tarOf(l.bundle(0, 4)))})
	expect(t, found(t, Options{Root: l.root.vkey(), Checkpoint: l.checkpoint(5)}, dir))
	expect(t, found(t, Options{}, filepath.Join(dir, "journal")))
	if err := os.RemoveAll(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	expect(t, found(t, Options{}, filepath.Join(dir, "journal")), "E101 error keys")
}

// TestWriteEvidence leaves a good and a bad bundle for the tests of the action.
func TestWriteEvidence(t *testing.T) {
	dir := os.Getenv("PEF_WRITE_EVIDENCE")
	if dir == "" {
		t.Skip("PEF_WRITE_EVIDENCE names no directory")
	}
	l := smallLog()
	good := compress(tarOf(l.bundle(0, uint64(len(l.entries)))))
	writeFiles(t, dir, map[string][]byte{
		"good bundle.pef": good, "bad.pef": good[:len(good)/2], "root.vkey": []byte(l.root.vkey() + "\n"),
	})
}
