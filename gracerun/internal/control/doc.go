// Package control is the control socket of a service: HTTP with JSON on a unix
// socket that only the service's user and root may use, and the client of it. It
// knows what is asked and how it is told; what is done is the [Service]'s.
//
//	GET  /status       a [Status]
//	GET  /healthz      200 when the service is ready, 503 and its state otherwise
//	GET  /readyz       200 while the service takes new work, 503 and why not otherwise
//	GET  /livez        200 while the process is of use, 503 and why not otherwise
//	GET  /metrics      for Prometheus
//	GET  /events       server-sent events: a [Status] whenever it changes
//	GET  /             a page for people
//	POST /upgrade      an [Event] a line while it goes on, its result the last one;
//	                   with ?wait=false it goes on without the client
//	POST /reload       the configuration is reread
//	POST /stop         the service finishes what it has in hand and ends
//	POST /reopen-logs  log files are opened anew
//	POST /pause        with ?name=: the task begins no new run, the command is stopped
//	POST /resume       with ?name=: what was paused goes on
//	POST /trigger      with ?name=: the task runs now, the command is started again
//
// Answers that are errors have the body {"error": "why"}.
package control
