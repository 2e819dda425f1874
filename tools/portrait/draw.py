"""Draws the repository's sample portrait, an invented person, as SVG on standard output.

    python3 tools/portrait/draw.py > assets/portrait.svg

Standard library only, fixed seeds: the same picture every time.
"""

import random

from face import Face
from hair import Hair
from pen import Sheet, curve, fill, group, spline, stroke, taper

WIDTH, HEIGHT = 1024, 1280
HEAD = "translate(516 526) rotate(1.6)"  # origin midway between the pupils
BODY = "translate(0 -74)"


def background(s, rng):
    wall = s.radial(330, 420, 1080, [(0, "#8fb9b2"), (0.35, "#5e938f"), (0.7, "#2f6168"), (1, "#173b45")])
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{wall}"/>', s.glow(170, 240, 520, 480, "#ffe2ae", 0.42)]
    for _ in range(16):
        x, y, r = rng.uniform(0, WIDTH), rng.uniform(0, 900), rng.uniform(26, 74)
        tint = rng.choice(("#ffe9bd", "#bfe0d6", "#f6c58b", "#9fd0cc"))
        parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{r:.0f}" fill="{tint}" opacity="{rng.uniform(0.05, 0.13):.2f}" filter="{s.blur(6)}"/>')
    parts.append(s.glow(560, 560, 520, 620, "#14343c", 0.35))
    return group(parts)


def neck(s):
    shape = curve([(404, 770), (410, 880), (406, 950), (396, 1000), (400, 1090), (512, 1140), (628, 1090), (632, 1000), (622, 950), (618, 880), (626, 770)], closed=True)
    skin = s.linear(400, 0, 640, 0, [(0, "#c9775a"), (0.16, "#eeb08a"), (0.4, "#e39f78"), (0.7, "#b9684c"), (0.92, "#8a4634"), (1, "#a0736a")])
    cord = lambda pts: curve(pts)
    parts = [
        fill(shape, skin),
        s.soft(curve([(370, 800), (412, 905), (512, 962), (616, 912), (660, 800)], closed=True), "#4f1a13", 15, 0.80),
        s.soft(curve([(430, 900), (520, 990), (640, 1030), (640, 870)], closed=True), "#6d2c20", 22, 0.50),
        f'<path d="{cord([(436, 900), (452, 980), (486, 1046)])}" fill="none" stroke="#8f4632" stroke-width="9" opacity="0.4" filter="{s.blur(6)}"/>',
        f'<path d="{cord([(598, 900), (580, 980), (544, 1046)])}" fill="none" stroke="#5d241a" stroke-width="10" opacity="0.4" filter="{s.blur(6)}"/>',
        s.glow(440, 975, 26, 60, "#ffdcb8", 0.45, -12),
        s.glow(430, 1052, 60, 14, "#ffe0c0", 0.45, 12),
        f'<path d="{cord([(626, 830), (621, 900), (630, 975)])}" fill="none" stroke="#9fd0dc" stroke-width="7" opacity="0.4" filter="{s.blur(4)}"/>',
    ]
    return group(parts, clip_path=s.clip(shape))


def sweater(s, rng):
    """A knitted round neck: body with folds, fine ribs, a collar of thick ribs."""
    body = curve([(384, 958), (372, 1010), (330, 1046), (236, 1076), (156, 1108), (108, 1170), (84, 1260), (74, 1360), (70, 1420), (70, 1440), (966, 1440), (966, 1420), (962, 1360), (950, 1260), (926, 1170), (878, 1108), (798, 1076), (704, 1046), (658, 1010), (646, 958), (600, 1080), (512, 1112), (424, 1080)], closed=True)
    wool = s.linear(180, 1040, 900, 1330, [(0, "#f0b548"), (0.35, "#d9962f"), (0.7, "#a8661d"), (1, "#6d3d14")])
    parts = [fill(body, wool)]
    for x in range(20, 1020, 9):
        lean = (x - 512) * 0.10
        points = [(x - lean * 1.6 + rng.uniform(-1, 1), y) for y in range(1020, 1440, 40)]
        points = [(px + lean * i * 0.45, py) for i, (px, py) in enumerate(points)]
        parts.append(stroke(curve(points), "#5a3310", 2.2, 0.20))
        parts.append(stroke(curve([(px - 3, py) for px, py in points]), "#ffdf94", 1.6, 0.20))
    for pts, w, o in (
        ([(226, 1196), (240, 1280), (236, 1420)], 30, 0.45), ([(808, 1196), (794, 1280), (800, 1420)], 36, 0.5),
        ([(330, 1120), (380, 1200), (400, 1330)], 26, 0.22), ([(700, 1120), (650, 1200), (630, 1330)], 30, 0.28),
    ):
        parts.append(f'<path d="{curve(pts)}" fill="none" stroke="#4f2a0c" stroke-width="{w}" opacity="{o}" filter="{s.blur(14)}"/>')
    for arm in ([(216, 1176), (232, 1250), (238, 1330), (232, 1430)], [(818, 1176), (802, 1250), (796, 1330), (804, 1430)]):
        points = [spline(arm, i / 16) for i in range(17)]
        parts.append(f'<path d="{taper(points, 13, 0.6)}" fill="#3f1f08" opacity="0.75" filter="{s.blur(3)}"/>')
    parts += [
        s.glow(240, 1110, 170, 60, "#fff0bd", 0.42, -26), s.glow(350, 1180, 60, 120, "#ffe6a2", 0.22, 8),
        s.glow(930, 1240, 220, 180, "#3a1d0c", 0.5), s.soft(curve([(380, 1010), (420, 1110), (512, 1142), (606, 1110), (650, 1010), (700, 1100), (520, 1200), (330, 1100)], closed=True), "#3f1f08", 14, 0.45),
        f'<path d="{curve([(798, 1078), (878, 1108), (926, 1170), (950, 1260), (966, 1400)])}" fill="none" stroke="#9fd0dc" stroke-width="10" opacity="0.5" filter="{s.blur(5)}"/>',
    ]
    return group([group(parts, clip_path=s.clip(body)), collar(s)])


def collar(s):
    inner = [(402, 956), (398, 994), (410, 1036), (450, 1072), (512, 1085), (576, 1072), (618, 1036), (632, 994), (628, 956)]
    outer = [(384, 952), (364, 1000), (374, 1062), (430, 1112), (512, 1130), (598, 1112), (654, 1062), (666, 1000), (646, 952)]
    band = curve(inner + outer[::-1], closed=True)
    wool = s.linear(350, 0, 680, 0, [(0, "#a9701f"), (0.14, "#efb650"), (0.4, "#e9ab42"), (0.7, "#b9741f"), (1, "#6b3a10")])
    parts = [fill(band, wool)]
    for i in range(59):
        t = (i + 0.5) / 59
        (x0, y0), (x1, y1) = spline(inner, t), spline(outer, t)
        parts.append(stroke(f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}", "#4f2a0c", 3.0, 0.42))
        (x0, y0), (x1, y1) = spline(inner, t + 0.007), spline(outer, t + 0.007)
        parts.append(stroke(f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}", "#ffe3a0", 2.2, 0.38))
    edge = lambda pts, c, w, o, b: f'<path d="{curve(pts)}" fill="none" stroke="{c}" stroke-width="{w}" opacity="{o}" filter="{s.blur(b)}"/>'
    parts += [s.glow(394, 960, 34, 40, "#2a1206", 0.75), s.glow(636, 960, 34, 44, "#2a1206", 0.8), edge(outer, "#3f1f08", 9, 0.6, 4), edge(inner, "#ffe9b4", 5, 0.55, 2)]
    shadow = edge([(x, y - 5) for x, y in inner], "#4a1c12", 11, 0.6, 5)
    return group([shadow, group(parts, clip_path=s.clip(band))])


def finish(s):
    """Vignette and a fine warm veil of light from the upper left."""
    edge = s.radial(500, 560, 900, [(0, "#0b1a20", 0), (0.62, "#0b1a20", 0), (1, "#0b1a20", 0.62)])
    return group([s.glow(120, 120, 620, 620, "#ffdf9f", 0.16), f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{edge}"/>'])


def main():
    s = Sheet()
    face, hair = Face(s, random.Random(12)), Hair(s, random.Random(22))
    casts, front = hair.front()
    skin, *features = face.draw()
    body = [
        background(s, random.Random(23)),
        group([hair.back()], transform=HEAD),
        group([neck(s), sweater(s, random.Random(24))], transform=BODY),
        group([face.ear(1), skin, casts, *features, front, face.ear(-1), hair.over_ear()], transform=HEAD),
        finish(s),
    ]
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    print(f'<svg xmlns="http://www.w3.org/2000/svg" {size}><defs>' + "\n".join(s.defs) + "</defs>")
    print("\n".join(body) + "</svg>")


if __name__ == "__main__":
    main()
