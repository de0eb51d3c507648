package pef

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The golden vectors, tests/vectors/pef: one table for the verifiers in Rust, Go and TypeScript. A case passes when the
// status is that of the table and the verdict has exactly the bytes of its file.
func TestGoldenVectors(t *testing.T) {
	root := filepath.Join("..", "..", "..", "tests", "vectors", "pef")
	data, err := os.ReadFile(filepath.Join(root, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Cases []struct {
			Name          string
			Inputs        []string
			Root          string
			Checkpoint    string
			WitnessPolicy string `json:"witness_policy"`
			Event         string
			Exit          int
			Codes         [][2]string
			Verdict       string
			Pending       bool
		}
		V string
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&table); err != nil {
		t.Fatal(err)
	}
	if table.V != formatVersion {
		t.Fatalf("the table is of version %q", table.V)
	}
	read := func(t *testing.T, path string) []byte {
		if path == "" {
			return nil
		}
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, c := range table.Cases {
		t.Run(c.Name, func(t *testing.T) {
			options := Options{Root: c.Root, Checkpoint: read(t, c.Checkpoint), Event: read(t, c.Event)}
			var paths []string
			for _, input := range c.Inputs {
				paths = append(paths, filepath.Join(root, filepath.FromSlash(input)))
			}
			var verdict *Verdict
			var err error
			if c.WitnessPolicy != "" {
				options.Witnesses, err = ParseWitnessPolicy(read(t, c.WitnessPolicy))
			}
			if err == nil {
				verdict, err = Verify(paths, options)
			}
			exit := 0
			switch {
			case err != nil:
				exit = 2
			case !verdict.OK:
				exit = 1
			}
			var codes [][2]string
			if verdict != nil {
				for _, f := range verdict.Findings {
					codes = append(codes, [2]string{f.Code, string(f.Severity)})
				}
			}
			slices.SortFunc(codes, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
			if codes = slices.Compact(codes); c.Pending && !slices.Equal(codes, c.Codes) {
				t.Skipf("pending in the table: codes %v, declared %v", codes, c.Codes)
			}
			if exit != c.Exit {
				t.Errorf("status %d, wanted %d (%v)", exit, c.Exit, err)
			}
			if verdict == nil {
				return
			}
			if !slices.Equal(codes, c.Codes) {
				t.Errorf("codes %v, wanted %v", codes, c.Codes)
			}
			if want := read(t, c.Verdict); want != nil && string(verdict.JSON()) != strings.TrimSuffix(string(want), "\n") {
				t.Errorf("verdict\n%s\nwanted\n%s", verdict.JSON(), want)
			}
		})
	}
}
