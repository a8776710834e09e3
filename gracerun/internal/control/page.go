package control

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // page.html
	"encoding/base64"
	"encoding/json"
	"net/http"
)

//go:embed page.html
var pageHTML []byte

// newPage serves the page with the status of the moment in it, so that it shows
// something before, and without, any event. All that came from elsewhere is in a
// block of JSON, in which < and > are escaped; only our own script and style may
// run.
func newPage(s Service) http.HandlerFunc {
	before, after, _ := bytes.Cut(pageHTML, []byte("{{status}}"))
	policy := "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; connect-src 'self'; img-src data:" +
		"; script-src " + hash("script") + "; style-src " + hash("style")
	return func(w http.ResponseWriter, _ *http.Request) {
		status, _ := json.Marshal(s.Status().Complete())
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Write(before)
		w.Write(status)
		w.Write(after)
	}
}

// hash is what a policy calls the page's only element of that name without
// attributes.
func hash(element string) string {
	_, rest, _ := bytes.Cut(pageHTML, []byte("<"+element+">"))
	text, _, _ := bytes.Cut(rest, []byte("</"+element+">"))
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
