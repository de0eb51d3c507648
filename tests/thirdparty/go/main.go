// Thirdparty holds evidence that Clyra wrote against libraries that others wrote: Go's checksum database client for notes,
// inclusion and consistency proofs, and Secure Systems Lab's DSSE for the signed manifest. It shares nothing with Clyra.
//
//	thirdparty DIR
//
// DIR holds what tests/scripts/thirdparty.sh lays out there. Everything must be accepted, and everything that was tampered with
// refused; the first that is not ends it with status 1.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: thirdparty DIR")
		os.Exit(2)
	}
	checks, err := run(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "thirdparty:", err)
		os.Exit(1)
	}
	fmt.Printf("third-party libraries agree: %d checks\n", checks)
}

type checker struct {
	done int
}

// accepts and refuses count, and say what did not go as it must.
func (c *checker) accepts(what string, err error) error {
	c.done++
	if err != nil {
		return fmt.Errorf("%s is refused: %w", what, err)
	}
	return nil
}

func (c *checker) refuses(what string, err error) error {
	c.done++
	if err == nil {
		return fmt.Errorf("%s is accepted", what)
	}
	return nil
}

func run(dir string) (int, error) {
	c := &checker{}
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			fmt.Fprintln(os.Stderr, "thirdparty:", err)
			os.Exit(2)
		}
		return content
	}
	vkey := strings.TrimSpace(string(read("log.vkey")))
	verifier, err := note.NewVerifier(vkey)
	if err := c.accepts("the log's verifier key", err); err != nil {
		return 0, err
	}
	tree, err := checkpoint(read("checkpoint"), verifier)
	if err := c.accepts("the checkpoint", err); err != nil {
		return 0, err
	}
	_, err = checkpoint(bytes.Replace(read("checkpoint"), []byte("\n"+strconv.FormatInt(tree.N, 10)+"\n"), []byte("\n1\n"), 1), verifier)
	if err := c.refuses("a checkpoint of another size", err); err != nil {
		return 0, err
	}
	proofs, err := filepath.Glob(filepath.Join(dir, "*.tlog-proof"))
	if err != nil || len(proofs) == 0 {
		return 0, errors.New("there are no proofs")
	}
	for _, path := range proofs {
		if err := c.inclusion(strings.TrimSuffix(path, ".tlog-proof"), verifier); err != nil {
			return 0, fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
	}
	bundles, err := filepath.Glob(filepath.Join(dir, "bundles", "*.pef"))
	if err != nil || len(bundles) < 2 {
		return 0, errors.New("there are not two bundles")
	}
	for _, bundle := range bundles {
		if err := c.bundle(bundle, vkey, verifier); err != nil {
			return 0, fmt.Errorf("%s: %w", filepath.Base(bundle), err)
		}
	}
	err = c.tiles(filepath.Join(dir, "tlog"), tree)
	return c.done, err
}

// checkpoint opens a note and reads the tree from its first three lines.
func checkpoint(content []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(content, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("not three lines, or of another log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func hashes(lines []string) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, line := range lines {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		out = append(out, hash)
	}
	return out, nil
}

func flipped(proof []tlog.Hash) []tlog.Hash {
	out := append([]tlog.Hash(nil), proof...)
	out[0][0] ^= 1
	return out
}

// inclusion checks a tlog-proof with the receipt beside it.
func (c *checker) inclusion(stem string, verifier note.Verifier) error {
	content, err := os.ReadFile(stem + ".tlog-proof")
	if err != nil {
		return err
	}
	receipt, err := os.ReadFile(stem + ".receipt.json")
	if err != nil {
		return err
	}
	head, signed, found := strings.Cut(string(content), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a tlog-proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	path, err := hashes(lines[2:])
	if err != nil {
		return err
	}
	tree, err := checkpoint([]byte(signed), verifier)
	if err := c.accepts("its checkpoint", err); err != nil {
		return err
	}
	leaf := tlog.RecordHash(receipt)
	if err := c.accepts("the inclusion proof", tlog.CheckRecord(path, tree.N, tree.Hash, index, leaf)); err != nil {
		return err
	}
	if err := c.refuses("another receipt", tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(receipt[1:]))); err != nil {
		return err
	}
	return c.refuses("another path", tlog.CheckRecord(flipped(path), tree.N, tree.Hash, index, leaf))
}

// unpack reads a bundle: a tar in zstd.
func unpack(path string) (map[string][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	decoder, err := zstd.NewReader(file)
	if err != nil {
		return nil, err
	}
	defer decoder.Close()
	members, archive := map[string][]byte{}, tar.NewReader(decoder)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return members, nil
		}
		if err != nil {
			return nil, err
		}
		if members[header.Name], err = io.ReadAll(archive); err != nil {
			return nil, err
		}
	}
}

// bundle checks a bundle's consistency proof and its signed manifest.
func (c *checker) bundle(path, vkey string, verifier note.Verifier) error {
	members, err := unpack(path)
	if err := c.accepts("the container", err); err != nil {
		return err
	}
	tree, err := checkpoint(members["checkpoint"], verifier)
	if err := c.accepts("the checkpoint", err); err != nil {
		return err
	}
	if prev, found := members["checkpoint.prev"]; found {
		old, err := checkpoint(prev, verifier)
		if err := c.accepts("the checkpoint before", err); err != nil {
			return err
		}
		proof, err := hashes(strings.Fields(string(members["consistency"])))
		if err != nil {
			return err
		}
		if err := c.accepts("the consistency proof", tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)); err != nil {
			return err
		}
		if err := c.refuses("another consistency proof", tlog.CheckTree(flipped(proof), tree.N, tree.Hash, old.N, old.Hash)); err != nil {
			return err
		}
	}
	return c.manifest(members, vkey)
}

// key is a log key as the DSSE library wants it.
type key struct {
	public ed25519.PublicKey
	id     string
}

func (k key) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(k.public, data, sig) {
		return errors.New("the signature is wrong")
	}
	return nil
}

func (k key) KeyID() (string, error) { return k.id, nil }

func (k key) Public() crypto.PublicKey { return k.public }

// manifest checks the envelope, and every file against the in-toto statement in it.
func (c *checker) manifest(members map[string][]byte, vkey string) error {
	name, rest, _ := strings.Cut(vkey, "+")
	_, encoded, _ := strings.Cut(rest, "+")
	typed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(typed) != 1+ed25519.PublicKeySize {
		return errors.New("the verifier key is not of Ed25519")
	}
	id := sha256.Sum256(append([]byte(name+"\n"), typed...))
	verifier, err := dsse.NewEnvelopeVerifier(key{public: typed[1:], id: hex.EncodeToString(id[:])})
	if err != nil {
		return err
	}
	var envelope dsse.Envelope
	if err := json.Unmarshal(members["manifest.dsse.json"], &envelope); err != nil {
		return err
	}
	_, err = verifier.Verify(context.Background(), &envelope)
	if err := c.accepts("the manifest's envelope", err); err != nil {
		return err
	}
	forged := envelope
	forged.PayloadType = "application/json"
	_, err = verifier.Verify(context.Background(), &forged)
	if err := c.refuses("an envelope of another type", err); err != nil {
		return err
	}
	payload, err := envelope.DecodeB64Payload()
	if err != nil {
		return err
	}
	var statement struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Name   string            `json:"name"`
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		Predicate map[string]any `json:"predicate"`
	}
	if err := json.Unmarshal(payload, &statement); err != nil {
		return err
	}
	if statement.Type != "https://in-toto.io/Statement/v1" || envelope.PayloadType != "application/vnd.in-toto+json" {
		return errors.New("not an in-toto statement")
	}
	for _, subject := range statement.Subject {
		digest := sha256.Sum256(members[subject.Name])
		if subject.Digest["sha256"] != hex.EncodeToString(digest[:]) {
			return fmt.Errorf("subject %s is another file", subject.Name)
		}
		c.done++
	}
	if len(statement.Subject) < 5 {
		return errors.New("the statement has too few subjects")
	}
	return nil
}

// tiles reads the tree out of its tiles as the checksum database's client does, and proves every leaf out of them.
func (c *checker) tiles(dir string, tree tlog.Tree) error {
	reader := tlog.TileHashReader(tree, &tileReader{dir: dir})
	for index := int64(0); index < tree.N; index++ {
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err := c.accepts(fmt.Sprintf("tile proof %d", index), err); err != nil {
			return err
		}
		leaf, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf[0]); err != nil {
			return err
		}
	}
	return nil
}

type tileReader struct{ dir string }

func (r *tileReader) Height() int { return 8 }

func (r *tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range tiles {
		// `tile/8/L/N` of the checksum database is `tile/L/N` of C2SP.
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		content, err := os.ReadFile(filepath.Join(r.dir, filepath.FromSlash(path)))
		if err != nil {
			return nil, err
		}
		out = append(out, content)
	}
	return out, nil
}
