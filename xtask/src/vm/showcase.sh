#!/bin/busybox sh
# The only program of the guest of `cargo xtask guest`: fills memory with noise, and from then on
# computes the sum of it again and again, and says each time whether it is what it was.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=75% memory /memory
sum() { md5sum /memory/noise || echo "none in round $round"; }
# Noise is slow to make in emulation: the same 8 MiB twelve times, shifted, so that no two pages are
# alike.
dd if=/dev/urandom of=/memory/seed bs=1M count=8 2>/dev/null
for piece in $(seq 12); do
    { echo "piece $piece"; cat /memory/seed; } >> /memory/noise
done
rm /memory/seed
first=$(sum)
round=0
while :; do
    round=$((round + 1))
    if [ "$(sum)" = "$first" ]; then
        echo "round $round: all 96 MiB are as they were"
    else
        echo "round $round: WRONG"
    fi
done
