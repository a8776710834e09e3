#!/bin/sh
# Makes DIR/root: as much of a newer Debian as its systemd needs to boot.
#
#   newer.sh DIR [RELEASE]
#   GRACERUN_SYSTEMD_ROOT=DIR/root go test ./test -run TestSystemd
#
# The packages come from where this machine's own do, and are only unpacked: none of
# their scripts runs. It needs root, apt-get and dpkg-deb. A directory that is
# complete is left as it is.
set -eu
dir=$1 release=${2:-trixie}
[ -e "$dir/complete" ] && exit
rm -rf "$dir"
mkdir -p "$dir/root" "$dir/apt/lists/partial" "$dir/apt/archives/partial"
: >"$dir/apt/status"

uri=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' | sed -n '/security/d; s/^Debian main //p' | head -n 1)
[ -n "$uri" ] || { echo "$0: apt-get knows no packages of Debian: run apt-get update" >&2; exit 1; }
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $release main" >"$dir/apt/sources.list"

get() {
	apt-get -qq -o Dir::State="$dir/apt" -o Dir::State::status="$dir/apt/status" -o Dir::Cache="$dir/apt" \
		-o Dir::Etc::SourceList="$dir/apt/sources.list" -o Dir::Etc::SourceParts=- \
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o APT::Get::List-Cleanup=no "$@"
}
get update
get install -y --no-install-recommends --download-only systemd coreutils dash passwd

cd "$dir/root"
mkdir -p usr/bin usr/sbin usr/lib usr/lib64 etc dev proc sys run tmp var/tmp var/log srv mnt root home
for d in bin sbin lib lib64; do ln -s "usr/$d" "$d"; done
for deb in "$dir"/apt/archives/*.deb; do dpkg-deb -x "$deb" .; done
cp usr/share/base-passwd/passwd.master etc/passwd
cp usr/share/base-passwd/group.master etc/group
echo 'systemd-journal:x:999:' >>etc/group
echo 0123456789abcdef0123456789abcdef >etc/machine-id
mkdir -p etc/systemd/system usr/local/bin
rm -rf "$dir/apt"
: >"$dir/complete"
