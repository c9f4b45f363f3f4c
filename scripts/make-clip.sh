#!/usr/bin/env bash
# Makes the demo clip in www/media/lake: ninety seconds of a day at a lake, drawn by clip-scene.mjs, with slow chords
# from sine waves. HLS with one-second fMP4 segments (H.264 Main, AAC), so that each second can be paid for by itself.
#
# Needs node and ffmpeg with libx264. About three minutes on two cores. The result is committed: run this only to change it.
set -euo pipefail
cd "$(dirname "$0")/.."

width=640 height=360 fps=24 seconds=90
out=www/media/lake
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One chord lasts nine seconds and swells and fades with half a sine, overlapping the next by three.
chords=("130.81 196.00 261.63 329.63" "110.00 164.81 261.63 329.63" "87.31 174.61 261.63 349.23" "98.00 196.00 246.94 293.66"
        "130.81 164.81 246.94 392.00" "110.00 220.00 261.63 392.00" "87.31 130.81 220.00 349.23" "98.00 146.83 246.94 392.00")
chord() { # chord INDEX START SIDE: an aevalsrc expression; the sides differ by a hair's breadth of pitch, which sounds wide
  local sum="" note weight=0.30
  for note in ${chords[$1]}; do
    sum+="${sum:++}$weight*sin(2*PI*$note*$3*t)*(1+0.12*sin(2*PI*0.21*t+$note))+0.05*sin(4*PI*$note*$3*t)"
    weight=0.20
  done
  echo "if(between(t,$2,$2+12),pow(sin(PI*(t-$2)/12),1.5)*($sum),0)"
}
voice() { # voice SIDE
  local sum="" start=0 n=0
  while ((start < seconds)); do
    sum+="${sum:++}$(chord $((n % ${#chords[@]})) "$start" "$1")"
    start=$((start + 9)) n=$((n + 1))
  done
  echo "0.28*($sum)"
}

ffmpeg -v error -y -f lavfi -i "aevalsrc=exprs='$(voice 1)|$(voice 1.0015)':s=48000:d=$seconds" \
  -af "lowpass=f=1400,aecho=0.8:0.7:90|170:0.25|0.18,afade=t=in:d=2,afade=t=out:st=$((seconds - 4)):d=4" "$work/music.wav"

rm -rf "$out" && mkdir -p "$out"
# threads=1 and bitexact: the same bytes on every machine with the same ffmpeg. A key frame every second begins each segment.
node scripts/clip-scene.mjs $width $height $fps $seconds |
  ffmpeg -v error -y -f rawvideo -pix_fmt rgb24 -s ${width}x$height -r $fps -i - -i "$work/music.wav" \
    -map 0:v -map 1:a -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
    -vf "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p" -colorspace bt709 -color_primaries bt709 -color_trc bt709 \
    -c:v libx264 -profile:v main -level 3.0 -preset veryslow -tune animation -crf 26 -maxrate 360k -bufsize 500k -threads 1 \
    -g $fps -keyint_min $fps -sc_threshold 0 -bf 0 -x264-params "aq-mode=3:aq-strength=1.2" \
    -c:a aac -b:a 48k -ar 48000 -ac 2 \
    -f hls -hls_time 1 -hls_playlist_type vod -hls_segment_type fmp4 -hls_flags independent_segments \
    -hls_fmp4_init_filename init.mp4 -hls_segment_filename "$out/second-%02d.m4s" "$out/index.m3u8"

# The poster: the low sun of the evening.
cat "$out/init.mp4" "$out/second-60.m4s" | ffmpeg -v error -y -i - -frames:v 1 -fflags +bitexact -flags:v +bitexact -q:v 3 "$out/poster.jpg"

echo "$out: $(ls "$out" | wc -l) files, $(du -sb "$out" | cut -f1) bytes"
