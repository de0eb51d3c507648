package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vector gives the path of a file of the golden vectors.
func vector(name string) string {
	return filepath.Join("..", "..", "..", "..", "..", "tests", "vectors", "pef", filepath.FromSlash(name))
}

// goodCase is the first case of the table that is one good bundle file with a root key.
func goodCase(t *testing.T) (path, root, verdict string) {
	t.Helper()
	data, err := os.ReadFile(vector("index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Cases []struct {
			Inputs        []string
			Root, Verdict string
			Exit          int
			Codes         [][2]string
			Checkpoint    string
			WitnessPolicy string `json:"witness_policy"`
		}
	}
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	for _, c := range table.Cases {
		if len(c.Inputs) == 1 && strings.HasSuffix(c.Inputs[0], ".pef") && c.Root != "" && c.Exit == 0 && len(c.Codes) == 0 &&
			c.Checkpoint == "" && c.WitnessPolicy == "" {
			want, err := os.ReadFile(vector(c.Verdict))
			if err != nil {
				t.Fatal(err)
			}
			return vector(c.Inputs[0]), c.Root, string(want)
		}
	}
	t.Fatal("no such case")
	return "", "", ""
}

func TestCommandLine(t *testing.T) {
	path, root, verdict := goodCase(t)
	keyFile := filepath.Join(t.TempDir(), "root.vkey")
	if err := os.WriteFile(keyFile, []byte(root+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.pef")
	if err := os.WriteFile(broken, []byte("no bundle"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		out    string // that standard output begins with
	}{
		{"--json --root " + root + " " + path, exitGood, verdict + "\n"},
		{"--json " + path + " --root=" + keyFile, exitGood, verdict + "\n"},
		{"--root " + root + " -- " + path, exitGood, "log "},
		{broken, exitBad, "error E108 CONTAINER broken.pef\n"},
		{"--help", exitGood, "Verify bundles"},
		{"", exitUsage, ""},
		{"--nonsense " + path, exitUsage, ""},
		{path + ".not", exitUsage, ""},
		{"--root nothing " + path, exitUsage, ""},
		{"--checkpoint nothing " + path, exitUsage, ""},
		{"--witness-policy " + keyFile + " " + path, exitUsage, ""},
		{"--event nothing " + path, exitUsage, ""},
	} {
		var out, words strings.Builder
		if status := run(strings.Fields(c.args), strings.NewReader(""), &out, &words); status != c.status {
			t.Errorf("%s: status %d, wanted %d: %s", c.args, status, c.status, words.String())
		}
		if !strings.HasPrefix(out.String(), c.out) || c.out == "" && out.Len() > 0 {
			t.Errorf("%s: %s", c.args, out.String())
		}
		if c.status == exitUsage && words.Len() == 0 {
			t.Errorf("%s: nothing is said", c.args)
		}
	}
}

func TestBatch(t *testing.T) {
	path, root, verdict := goodCase(t)
	good, err := json.Marshal(request{Inputs: []string{path}, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	lines := string(good) + "\n\nnonsense\n" + `{"inputs":[]}` + "\n" + `{"inputs":["nothing"]}` + "\n" + `{"paths":[]}` + "\n" + string(good)
	var out, words strings.Builder
	if status := run([]string{"--batch"}, strings.NewReader(lines), &out, &words); status != exitGood {
		t.Errorf("status %d: %s", status, words.String())
	}
	answers := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(answers) != 6 || answers[0] != verdict || answers[5] != verdict {
		t.Fatalf("%q", answers)
	}
	for _, a := range answers[1:5] {
		if !strings.HasPrefix(a, `{"error":"`) {
			t.Errorf("%s", a)
		}
	}
}
