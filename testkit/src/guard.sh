# Waits until the process that started it is gone, then ends what that process left running and
# removes its directory. $1 is the directory. Only processes are ended that carry its name in their
# environment, and PostgreSQL's own that work on the data in it.
dir=$1
trap '' HUP INT QUIT TERM PIPE

# The end of input is the end of our parent: nobody else holds the other end of this pipe.
while read -r _; do :; done

ours() {
    grep -lsF "TESTKIT_DIRECTORY=$dir" /proc/[0-9]*/environ | cut -d/ -f3
    # PostgreSQL's children write their titles over their environment; they work in the data
    # directory.
    find /proc -mindepth 2 -maxdepth 2 -path '/proc/[0-9]*/cwd' -lname "$dir/postgres/data" 2>/dev/null | cut -d/ -f3 |
        while read -r pid; do
            case $(readlink "/proc/$pid/exe") in */postgres*) echo "$pid" ;; esac
        done
}

# What was paused must be able to hear the next signal.
pids=$(ours)
[ -n "$pids" ] && kill -CONT $pids

# PostgreSQL is asked first, because it owns shared memory that outlives a killed server.
pidfile=$dir/postgres/data/postmaster.pid
postmaster=$(head -n 1 "$pidfile" 2>/dev/null)
if [ -n "$postmaster" ] && ours | grep -qx "$postmaster"; then
    kill -QUIT "$postmaster"
    n=0
    while [ $n -lt 60 ] && [ -e "$pidfile" ]; do
        sleep 0.05
        n=$((n + 1))
    done
fi

n=0
while [ $n -lt 200 ]; do
    pids=$(ours)
    [ -z "$pids" ] && break
    kill -KILL $pids
    sleep 0.02
    n=$((n + 1))
done

# A server that was killed left its shared memory behind; its number is the second one of the
# seventh line.
segment=$(sed -n 7p "$pidfile" 2>/dev/null | awk '{print $2}')
[ -n "$segment" ] && ipcrm -m "$segment"

[ -s "$dir/containers" ] && docker rm --force --volumes $(cat "$dir/containers")

rm -rf "$dir" || { sleep 0.2; rm -rf "$dir"; }
