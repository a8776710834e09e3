#!/bin/sh
# Boots systemd as process 1 of pid, mount and cgroup namespaces of its own, and ends it
# when standard input does.
#
#   pid1.sh boot DIR ROOT JOURNAL NETWORK
#
# DIR is /run/bench inside: DIR/units has units, DIR/bin is /usr/local/bin. ROOT is another
# system's files, with a newer systemd; "" is the machine's own. JOURNAL=1 has journald run,
# NETWORK=1 makes a network namespace, too.
#
# Everything that systemd writes to is a tmpfs of its own: its tmpfiles service empties the
# machine's temporary directories otherwise. So is the cgroup: two systemds in one would
# both believe that it is theirs.
set -eu
stage=$1 dir=$2 root=$3 journal=$4 network=$5
case $stage in
boot)
	exec unshare -m sh "$dir/pid1.sh" cgroup "$dir" "$root" "$journal" "$network"
	;;

cgroup)
	mount --make-rprivate /
	mount -t cgroup2 cgroup2 "$dir/cgroup"
	home=$dir/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
	mkdir "$home/bench.$$"
	sh -c 'echo 0 >"$0/cgroup.procs"; exec "$@"' "$home/bench.$$" \
		unshare -p -f -m -C --kill-child ${network:+-n} sh "$dir/pid1.sh" inside "$dir" "$root" "$journal" "$network" </dev/null &
	echo $! # the parent of process 1
	cat >/dev/null
	kill -9 $(cat /proc/$!/task/$!/children) 2>/dev/null || kill -9 $! || true
	wait $! || true # the kernel ends all others with process 1, and then unshare
	find "$home/bench.$$" -depth -type d -exec rmdir {} +
	;;

inside)
	umount "$dir/cgroup"
	if [ -n "$root" ]; then
		mount --bind "$root" "$root"
		mount --rbind /sys "$root/sys"
		mount --rbind /dev "$root/dev"
	fi
	mount -t proc proc "$root/proc"
	mount --bind "$dir" "$root/mnt" # from where it can be seen
	for d in run tmp var/tmp var/log srv etc/systemd/system; do
		mount -t tmpfs tmpfs "$root/$d"
	done
	mkdir -p "$root/run/bench" "$root/run/systemd/system" "$root/run/systemd/journald.conf.d"
	mount --move "$root/mnt" "$root/run/bench"
	mount --bind "$root/run/bench/bin" "$root/usr/local/bin"
	umount -l "$root/sys/fs/cgroup" 2>/dev/null || true
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

	units=$root/run/systemd/system
	cp "$root"/run/bench/units/* "$units" 2>/dev/null || true
	printf '[Unit]\nDescription=test bench\n' >"$units/bench.target"
	# The journal is in memory, and takes nothing from the kernel nor from /dev/log, which is the machine's.
	printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\n' >"$root/run/systemd/journald.conf.d/bench.conf"
	masked="tmpfiles-setup tmpfiles-setup-dev tmpfiles-setup-dev-early tmpfiles-clean journal-flush udevd udev-trigger
		udev-load-credentials sysctl remount-fs modules-load update-utmp random-seed networkd-wait-online boot-random-seed"
	[ -n "$journal" ] || masked="$masked journald"
	for u in $masked; do ln -sf /dev/null "$units/systemd-$u.service"; done
	for u in journald-dev-log journald-audit; do ln -sf /dev/null "$units/systemd-$u.socket"; done

	if [ -n "$root" ]; then
		cd "$root"
		pivot_root . mnt
		umount -l /mnt
	fi
	exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=bench /lib/systemd/systemd --system --unit=bench.target --log-level=notice
	;;
esac
