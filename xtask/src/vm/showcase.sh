#!/bin/busybox sh
# The only program of the guest of `cargo xtask guest`: fills memory with noise, and from then on
# computes the sum of it again and again, and says each time whether it is what it was.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t tmpfs -o size=75% memory /memory
dd if=/dev/urandom of=/memory/noise bs=1M count=96 2>/dev/null
sum=$(md5sum < /memory/noise)
round=0
while :; do
    round=$((round + 1))
    if [ "$(md5sum < /memory/noise)" = "$sum" ]; then
        echo "round $round: all 96 MiB are as they were"
    else
        echo "round $round: WRONG"
    fi
done
