# shellcheck shell=bash
# What start, stop, hosts and enter share: where a box keeps its state, which processes are its own, how they are ended.
# Sourced, not run. Needs Linux (/proc), bash >= 4.4, coreutils, grep, and for namespaces iproute2 and util-linux.

trap 'complain "unexpected failure in line $LINENO: $BASH_COMMAND"' ERR

readonly unavailable=77 # exit code: this machine cannot do it, and nothing was changed; tests skip with the reason
readonly another='name another: CALIGO_BOX=DIR'

complain() {
	echo "${0##*/}: $1" >&2
	[[ -z ${2:-} ]] || echo "  remedy: $2" >&2
}
refuse() { complain "$1" "${2:-}"; exit 2; }
cannot() { complain "$1" "${2:-}"; exit "$unavailable"; }

# Sets `box`, the absolute path of the state directory: the argument, $CALIGO_BOX, or the default.
locate_box() {
	box=${1:-${CALIGO_BOX:-${XDG_RUNTIME_DIR:-/tmp}/caligo-box-$UID}}
	box=$(readlink -m -- "$box") # as /proc names it
	[[ $box =~ ^/[A-Za-z0-9._/+-]+$ ]] ||
		refuse "expected a directory of letters, digits and ._+-/ (slurm.conf has no quotes), got '$box'" "$another"
	((${#box} <= 80)) ||
		refuse "expected a path of at most 80 characters (sockets lie in it), got ${#box}: $box" "$another"
}

# Says which part of Slurm is missing, and leaves with 77.
require_tools() {
	local tool packages='slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libpmi2-0 libpmix-dev'
	packages+=' iproute2 util-linux'
	for tool in munged slurmctld slurmd srun ss flock; do
		command -v "$tool" >/dev/null ||
			cannot "$tool is not installed" "Debian/Ubuntu: apt-get install -y --no-install-recommends $packages"
	done
}

# Makes the state directory, or takes one over that a box made; never one that holds anything else.
claim_box() {
	if [[ -e $box && ! -e $box/.caligo-box ]] && [[ ! -d $box || -n $(ls -A "$box") ]]; then
		refuse "expected an empty or a missing directory, got $box with something else in it" "$another"
	fi
	mkdir -p "$box"
	[[ -O $box ]] || refuse "expected a directory of your own, got $box of another user" "$another"
	chmod 755 "$box"
	: >"$box/.caligo-box"
}

# Start, stop and hosts of one box take turns. The lock ends with the script; what it starts does not inherit it.
lock_box() {
	exec {box_lock}<"$box"
	flock --timeout 60 "$box_lock" || refuse "another start or stop of $box has been running for a minute" "end it, then try again"
}

# Runs a program of the box: marked, so that stop finds it whoever its parent is, and with no ties to this script.
launch() { CALIGO_BOX_OF=$box SLURM_CONF=$box/slurm.conf setsid "$@" {box_lock}<&- </dev/null; }

# A process that has not ended. A killed one may stay a zombie for long, and `kill -0` takes it for alive.
alive() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	stat=${stat##*) }
	[[ ${stat%% *} != [ZX] ]]
}

# Whether the process in a pid file is alive and this box's: after a crash the number may belong to anybody.
running() {
	local pid
	{ read -r pid <"$1"; } 2>/dev/null && [[ $pid =~ ^[0-9]+$ ]] && alive "$pid" &&
		grep -qszxF "CALIGO_BOX_OF=$box" "/proc/$pid/environ"
}

# Polls a condition every 20 ms, for at most so many seconds.
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.02
	done
}

# Prints the pids of everything that lives by this box: what `launch` marked; slurmstepd, which writes over its environment
# but works in the directory of the logs; tasks and batch scripts, which run in the environment of whoever submitted them;
# what is in a namespace of its hosts; and the children of all these.
processes() {
	local environment pid parent place file
	local -A found=() parents=() nets=()
	while IFS= read -r environment; do
		pid=${environment#/proc/} pid=${pid%/environ}
		found[$pid]=1
	done < <(grep -lszxF "CALIGO_BOX_OF=$box" /proc/[0-9]*/environ)
	while IFS= read -r environment; do
		grep -qszxF "SLURM_CONF=$box/slurm.conf" "$environment" || continue
		pid=${environment#/proc/} pid=${pid%/environ}
		found[$pid]=1
	done < <(grep -lsz '^SLURMD_NODENAME=' /proc/[0-9]*/environ)
	for file in "$box"/hosts/*.net; do
		[[ ! -e $file ]] || nets[$(<"$file")]=$(<"${file%.net}.address")
	done
	for file in /proc/[0-9]*; do
		pid=${file#/proc/}
		{ read -r place <"$file/comm"; } 2>/dev/null || continue
		if [[ $place == slurm* && $(readlink "$file/cwd") =~ ^"$box/log"( \(deleted\))?$ ]]; then found[$pid]=1; fi
		# A namespace that is gone leaves its number to the next: the address says that it is ours.
		if ((${#nets[@]})) && place=$(readlink "$file/ns/net") && [[ -n ${nets[$place]:-} ]] &&
			grep -qswF "${nets[$place]}" "$file/net/fib_trie"; then found[$pid]=1; fi
		{ read -r parent <"$file/stat"; } 2>/dev/null || continue
		parent=${parent##*) } parent=${parent#* }
		parents[$pid]=${parent%% *}
	done
	local grown=1
	while ((grown)); do
		grown=0
		for pid in "${!parents[@]}"; do
			if [[ -z ${found[$pid]:-} && -n ${found[${parents[$pid]}]:-} ]]; then
				found[$pid]=1
				grown=1
			fi
		done
	done
	for pid in "${!found[@]}"; do
		if alive "$pid" && [[ $pid != "$$" && $pid != "$BASHPID" ]]; then echo "$pid"; fi
	done
}

# Ends every process of the box, at once: nothing of its state is kept, so there is nothing to save.
end_processes() {
	local end=$((SECONDS + 20)) pids
	while mapfile -t pids < <(processes) && ((${#pids[@]})); do
		kill -KILL "${pids[@]}" 2>/dev/null || true
		((SECONDS < end)) || { complain "these processes of $box do not end: ${pids[*]}"; return 1; }
		sleep 0.05
	done
}

# --- hosts: namespaces with a network of their own ----------------------------------------------------------------
# In $box/hosts: subnet (10.77.S), bridge, names (in order), and per host NAME.pid of the process that holds its namespaces,
# NAME.address, NAME.net (the number of its network namespace) and NAME.link (its cable, at this end).

# Says why this machine makes no namespaces, and leaves with 77.
require_namespaces() {
	((UID == 0)) || cannot "hosts in namespaces need root" "sudo, or a box without --hosts"
	local tool
	for tool in ip unshare nsenter; do
		command -v "$tool" >/dev/null ||
			cannot "hosts in namespaces need '$tool'" "Debian/Ubuntu: apt-get install iproute2 util-linux"
	done
	unshare --mount --uts --ipc --net -- sh -c '
		ip link add c0 type bridge && ip link add c1 type veth peer name c2 && ip link set c1 master c0 &&
			mount -t tmpfs tmpfs /dev/shm
	' >/dev/null 2>&1 || cannot "this kernel or container makes no namespaces with a bridge, veth pairs and a tmpfs" \
		"a privileged container, or a box without --hosts"
}

subnet_is_free() { [[ -z $(ip -4 -o address show to "10.77.$1.0/24")$(ip -4 route show root "10.77.$1.0/24") ]]; }

make_bridge() {
	local sum number attempt
	sum=$(cksum <<<"$box")
	sum=${sum%% *}
	bridge=$(printf 'cal%06x' $((sum & 0xffffff)))
	for attempt in {0..255}; do
		number=$(((sum + attempt) & 255))
		subnet_is_free "$number" || continue
		subnet=10.77.$number
		ip link add "$bridge" type bridge
		ip address add "$subnet.254/24" dev "$bridge"
		ip link set "$bridge" up
		# Another box may have chosen it in the same moment: then both look further.
		(($(ip -4 -o address show to "$subnet.0/24" | wc -l) == 1)) && break
		ip link del "$bridge"
		subnet=
	done
	[[ -n $subnet ]] || cannot "none of the networks 10.77.0.0/24 to 10.77.255.0/24 is free" "stop the boxes you do not need"
	mkdir -p "$box/hosts"
	echo "$bridge" >"$box/hosts/bridge"
	echo "$subnet" >"$box/hosts/subnet"
}

in_host() {
	local name=$1
	shift
	nsenter --target "$(<"$box/hosts/$name.pid")" --mount --uts --ipc --net -- "$@"
}

holds_namespaces() {
	[[ $(readlink "/proc/$1/exe") == */sleep && $(readlink "/proc/$1/ns/net") != $(readlink /proc/self/ns/net) ]]
}

# Its own name, address and shared memory; the file system, /tmp included, is everybody's, as a home directory is.
make_host() {
	local name=$1 number=$2 pid
	CALIGO_BOX_OF=$box setsid unshare --mount --uts --ipc --net -- \
		sleep infinity {box_lock}<&- </dev/null >/dev/null 2>&1 &
	pid=$! # of `sleep`: each of them becomes the next
	within 10 holds_namespaces "$pid"
	echo "$pid" >"$box/hosts/$name.pid"
	echo "$subnet.$number" >"$box/hosts/$name.address"
	readlink "/proc/$pid/ns/net" >"$box/hosts/$name.net"
	echo "${bridge}v$number" >"$box/hosts/$name.link"
	ip link add "${bridge}v$number" type veth peer name eth0 netns "$pid"
	ip link set "${bridge}v$number" master "$bridge" up
	# shellcheck disable=SC2016 # the inner shell expands it
	in_host "$name" sh -eu -c '
		mount -t tmpfs -o mode=1777 tmpfs /dev/shm
		mount --bind "$1" /etc/hosts
		echo "$2" >/proc/sys/kernel/hostname
		echo 1 2>/dev/null >/proc/sys/net/ipv6/conf/all/disable_ipv6 || true
		ip link set lo up
		ip address add "$3/24" dev eth0
		ip link set eth0 up
	' sh "$box/hosts/etc-hosts" "$name" "$subnet.$number"
}

# make_hosts NAME...: all of them, on one bridge.
make_hosts() {
	require_namespaces
	make_bridge
	printf '%s\n' "$@" >"$box/hosts/names"
	local name number=0
	{
		echo "127.0.0.1 localhost"
		echo "$subnet.254 $(</proc/sys/kernel/hostname)"
		for name in "$@"; do echo "$subnet.$((++number)) $name"; done
	} >"$box/hosts/etc-hosts"
	number=0
	for name in "$@"; do make_host "$name" $((++number)); done
}

# Their processes must have ended: the cables go with the namespaces.
remove_hosts() {
	[[ -e $box/hosts/bridge ]] || return 0
	local link
	for link in "$box"/hosts/*.link; do
		[[ ! -e $link ]] || ip link del "$(<"$link")" 2>/dev/null || true
	done
	ip link del "$(<"$box/hosts/bridge")" 2>/dev/null || true
	rm -r "$box/hosts"
}
