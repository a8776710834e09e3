module github.com/gracerun/grace/example/cobra

go 1.26.0

require (
	github.com/gracerun/grace v0.0.0
	github.com/spf13/cobra v1.10.2
)

require (
	github.com/cloudflare/tableflip v1.2.3 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/netresearch/go-cron v0.9.1 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/gracerun/grace => ../..
