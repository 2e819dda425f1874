"""The face: skin, ears, eyes, brows, nose and lips. Origin midway between the pupils, y down."""

from math import cos, pi, sin

from pen import curve, fill, group, mix, spline, stroke, taper
from relief import Relief, gloss_stack, tone_stack

# Right half of the silhouette, crown to chin.
OUTLINE = [
    (0, -330), (80, -318), (146, -276), (188, -205), (203, -120), (205, -40), (203, 30), (195, 92),
    (178, 156), (151, 214), (115, 264), (75, 298), (37, 313), (0, 317),
]
LASH, SKIN_LINE = "#24120f", "#8a4a35"
LIP = {"dark": "#5a1a1c", "deep": "#993a38", "mid": "#c4544c", "light": "#dc7b6c", "shine": "#ffe3d6"}


def outline():
    return OUTLINE + [(-x, y) for x, y in OUTLINE[-2:0:-1]]


def half_width(y):
    """Half width of the silhouette at y, never less than 60 so that the relief stays defined past crown and chin."""
    for (x0, y0), (x1, y1) in zip(OUTLINE, OUTLINE[1:]):
        if y0 <= y <= y1:
            return max(x0 + (x1 - x0) * (y - y0) / (y1 - y0), 60.0)
    return 60.0


class Face:
    """Draws on a sheet with a seeded generator, so that the same seed is the same person."""

    def __init__(self, sheet, rng):
        self.s, self.rng = sheet, rng

    def draw(self):
        return [self.skin(), self.brows(), self.eye(-1), self.eye(1), self.nose(), self.lips()]

    # Skin ------------------------------------------------------------------------------------

    def skin(self):
        s = self.s
        xs, ys, tone, gloss = Relief(half_width).grid((-225, -345, 225, 350), 5)
        shape = s.clip(curve(outline(), closed=True))
        parts = [group(tone_stack(xs, ys, tone, 44), filter=s.blur(3.5))]
        warm = "#d8402f"
        parts += [
            s.glow(-118, 92, 84, 62, warm, 0.26, -12), s.glow(120, 94, 80, 60, warm, 0.26, 12),
            s.glow(0, 114, 44, 38, warm, 0.20), s.glow(0, 285, 60, 34, warm, 0.12),
            s.glow(-98, -30, 60, 20, warm, 0.13), s.glow(98, -30, 60, 20, warm, 0.13),
            s.glow(0, -190, 150, 90, "#ffe7b8", 0.08), s.glow(96, 268, 110, 50, "#5f7f92", 0.14, -38),
            s.glow(-100, 30, 56, 18, "#7a4a63", 0.16, 8), s.glow(100, 30, 56, 18, "#7a4a63", 0.16, -8),
        ]
        parts.append(group(gloss_stack(xs, ys, gloss, 20, 0.42), filter=s.blur(5.0)))
        parts += self.freckles() + self.rim()
        return group(parts, clip_path=shape)

    def freckles(self):
        rng, out = self.rng, []
        while len(out) < 230:
            side = rng.choice((-1, 1))
            x, y = side * abs(rng.gauss(88, 44)), rng.gauss(94, 23)
            if rng.random() < 0.22:
                x, y = rng.gauss(0, 24), rng.gauss(62, 30)
            if abs(x) > 180 or (abs(abs(x) - 98) < 70 and y < 72) or y > 150:
                continue
            r = 0.6 + 1.5 * rng.random() ** 2.5
            c = mix("#a4532f", "#7b3a24", rng.random())
            o = 0.14 + 0.26 * rng.random()
            out.append(f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{r * 1.15:.1f}" ry="{r:.1f}" fill="{c}" opacity="{o:.2f}"/>')
        return [group(out, filter=self.s.blur(0.6))]

    def rim(self):
        """Cool light that grazes the right edge, and the warm bounce on the left one."""
        right = [spline([(210, -60), (205, 40), (196, 98), (180, 158), (153, 216), (117, 267), (72, 302)], t / 24) for t in range(25)]
        left = curve([(-203, 40), (-195, 96), (-178, 158), (-151, 216), (-115, 266)])
        return [
            f'<path d="{taper(right, 17, 0.6)}" fill="#9fd0dc" opacity="0.62" filter="{self.s.blur(5)}"/>',
            f'<path d="{left}" fill="none" stroke="#ffd9a6" stroke-width="9" opacity="0.35" filter="{self.s.blur(4)}"/>',
        ]

    # Ears ------------------------------------------------------------------------------------

    def ear(self, side):
        """One ear, drawn under the face and the hair."""
        s = self.s
        k = lambda pts: [(side * x, y) for x, y in pts]
        line = lambda pts, c, w, o, b: f'<path d="{curve(k(pts))}" fill="none" stroke="{c}" stroke-width="{w}" stroke-linecap="round" opacity="{o}" filter="{s.blur(b)}"/>'
        shape = curve(k([(190, -30), (206, -46), (224, -46), (237, -28), (238, 2), (231, 36), (224, 66), (214, 88), (203, 94), (192, 84)]), closed=True)
        tint = ("#f2ab88", "#bb5f44") if side < 0 else ("#c8775a", "#7d3a2c")
        base = s.linear(side * 196, -30, side * 240, 50, [(0, tint[1]), (0.5, tint[0]), (1, mix(tint[0], tint[1], 0.6))])
        hollow = curve(k([(202, 2), (212, -6), (219, 4), (216, 26), (208, 44), (200, 36)]), closed=True)
        parts = [
            fill(shape, base),
            s.soft(curve(k([(204, -20), (218, -28), (226, -14), (223, 16), (214, 44), (202, 56), (198, 20)]), closed=True), "#a04a34", 5, 0.45),
            s.soft(hollow, "#7a3022", 3.5, 0.6),
            line([(204, -26), (217, -34), (228, -24), (229, 2), (222, 34), (216, 52)], "#8a3d2b", 4, 0.6, 1.6),
            line([(212, -16), (218, 0), (214, 18)], "#ffcfae", 4, 0.55, 2),
            line([(200, -38), (218, -42), (232, -28), (234, 2), (227, 36)], "#ffe3c8", 4, 0.5, 1.8),
            line([(197, 30), (202, 46), (210, 52)], "#ffd2b0", 4, 0.4, 2),
            s.glow(side * 211, 78, 16, 16, "#e0553f", 0.35),
            s.glow(side * 193, 20, 13, 84, "#4f1c14", 0.5),
        ]
        return group(parts, clip_path=s.clip(shape)) + self.earring(side)

    def earring(self, side):
        s = self.s
        x, y = side * 206, 92
        gold = s.radial(x - 3, y - 3, 9, [(0, "#fff6cf"), (0.45, "#e6b450"), (1, "#7a4d12")])
        return s.glow(x, y + 6, 12, 12, "#3a140c", 0.45) + f'<circle cx="{x}" cy="{y}" r="6.5" fill="{gold}"/>'

    # Eyes ------------------------------------------------------------------------------------

    def eye(self, side):
        s, rng = self.s, self.rng
        cx = 98 * side
        at = lambda pts: [(cx + side * x, y) for x, y in pts]  # x grows away from the nose
        upper = at([(-54, 9.5), (-43, -6), (-24, -19.5), (0, -25), (25, -23.5), (45, -14), (59, -2)])
        lower = at([(59, -2), (47, 7), (25, 13), (0, 15), (-23, 14.5), (-43, 12), (-54, 9.5)])
        almond = curve(upper + lower[1:-1], closed=True)
        white = s.radial(cx - 4, -2, 62, [(0, "#f8f0e8"), (0.5, "#efe2d8"), (0.8, "#d3b8ab"), (1, "#a97f73")])
        parts = [fill(almond, white)]
        parts.append(s.glow(cx - side * 51, 9, 15, 11, "#d2675a", 0.8))
        parts.append(s.glow(cx + side * 50, 3, 16, 14, "#a05a4e", 0.45))
        parts += self.iris(cx + 1.5, -2.5)
        cast = curve([(x, y - 9) for x, y in upper] + [(x, y + (9 if abs(x - cx) < 45 else 3)) for x, y in upper[::-1]], closed=True)
        parts.append(s.soft(cast, "#2c1210", 4, 0.62))
        parts.append(stroke(curve([(x, y - 1.0) for x, y in lower]), "#e9a48f", 3.4, 0.85))
        parts.append(stroke(curve([(x, y - 3.4) for x, y in lower[1:-1]]), "#fff4ea", 1.2, 0.5))
        parts.append(s.glow(cx - side * 50, 11, 6, 4.5, "#f4b3a2", 0.9))
        out = [self.lid(side, at, upper, lower), group(parts, clip_path=s.clip(almond))]
        out += self.lashes(side, at, upper, lower)
        return group(out, transform=f"translate({cx} 0) scale(1.14) translate({-cx} 0)")

    def lid(self, side, at, upper, lower):
        """Lid skin between crease and lashes, and the soft pad under the eye."""
        s = self.s
        crease = at([(-53, -2), (-43, -20), (-24, -34), (2, -41), (28, -38), (50, -25), (66, -6)])
        skin = curve(upper + crease[::-1], closed=True)
        cx = 98 * side
        shade = s.linear(cx, -44, cx, -18, [(0, "#a65a41", 0.75), (0.35, "#c98062", 0.25), (0.7, "#ffd2ae", 0.45), (1, "#8b4533", 0.7)])
        pad = curve(at([(-46, 19), (-22, 25), (6, 26), (32, 21), (50, 11)]))
        return group([
            fill(skin, shade),
            f'<path d="{taper(crease_points(crease), 4.6)}" fill="#6d2f22" opacity="0.75" filter="{s.blur(1.1)}"/>',
            f'<path d="{curve([(x, y - 7) for x, y in crease])}" fill="none" stroke="#7c3a29" stroke-width="9" opacity="0.26" filter="{s.blur(5)}"/>',
            s.glow(cx - 8, -33, 24, 6, "#fff0dc", 0.5),
            f'<path d="{pad}" fill="none" stroke="#9c5340" stroke-width="4" opacity="0.38" filter="{s.blur(2.4)}"/>',
        ])

    def iris(self, cx, cy):
        s, rng, r = self.s, self.rng, 24.5
        base = s.radial(cx, cy + 3, r, [(0, "#c08a3c"), (0.36, "#8f8a45"), (0.62, "#4f7d62"), (0.86, "#2d5650"), (1, "#12262a")])
        parts = [f'<circle cx="{cx:.1f}" cy="{cy}" r="{r}" fill="{base}"/>']
        fibres = []
        for i in range(84):
            a = 2 * pi * (i + 0.7 * rng.random()) / 84
            r0, r1 = r * (0.40 + 0.08 * rng.random()), r * (0.62 + 0.32 * rng.random())
            colour = rng.choice(("#e9cd86", "#a9b873", "#27463f", "#d7a552", "#7fae8c", "#1e3a38"))
            d = f"M{cx + r0 * cos(a):.1f} {cy + r0 * sin(a):.1f}L{cx + r1 * cos(a + 0.05):.1f} {cy + r1 * sin(a + 0.05):.1f}"
            fibres.append(stroke(d, colour, 0.9, 0.3 + 0.3 * rng.random()))
        parts += fibres
        parts.append(s.glow(cx + 7, cy + 5, 14, 8, "#f3e3a0", 0.42, -30))
        parts.append(s.glow(cx, cy + 20, 22, 9, "#0d1a1d", 0.8))
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy}" r="{r - 1}" fill="none" stroke="#0d1a1d" stroke-width="3.2" opacity="0.75" filter="{s.blur(1)}"/>')
        pupil = s.radial(cx, cy, 11, [(0, "#050304"), (0.85, "#0a0607"), (1, "#0a0607", 0)])
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy}" r="11.5" fill="{pupil}"/>')
        parts.append(s.glow(cx, cy - 20, 26, 18, "#140a0a", 0.75))
        parts.append(f'<ellipse cx="{cx - 8.5:.1f}" cy="{cy - 9.5}" rx="5.6" ry="6.4" fill="#ffffff" opacity="0.97" transform="rotate(-18 {cx - 8.5:.1f} {cy - 9.5})"/>')
        parts.append(s.glow(cx - 8.5, cy - 9.5, 12, 12, "#fffdf4", 0.35))
        parts.append(f'<ellipse cx="{cx + 9:.1f}" cy="{cy + 10}" rx="2.4" ry="2" fill="#e6f3f4" opacity="0.75"/>')
        return parts

    def lashes(self, side, at, upper, lower):
        s, rng = self.s, self.rng
        line = [spline(upper, t / 24) for t in range(25)]
        wing = line[1:] + at([(65, -4), (71, -10)])
        out = [
            stroke(curve([(x, y + 0.5) for x, y in line[2:]]), LASH, 3.6, 0.92),
            f'<path d="{taper([(x, y + 1) for x, y in wing], 9, 0.66)}" fill="{LASH}"/>',
            f'<path d="{taper([(x, y + 3) for x, y in wing[:-2]], 8, 0.6)}" fill="{LASH}" opacity="0.45" filter="{s.blur(1.6)}"/>',
        ]
        for i in range(38):
            t = 0.16 + 0.84 * (i + 0.5 * rng.random()) / 38
            x, y = spline(upper, min(t, 1))
            size = 4 + 13 * t**1.2 + 4 * rng.random()
            lean = side * (-0.35 + 1.55 * t) + rng.gauss(0, 0.10)
            tip = (x + lean * size * 0.85, y - size * 0.70 + 5 * t)
            mid = (x + lean * size * 0.42, y - size * 0.16 + 2.5 * t)
            out.append(f'<path d="{taper([(x, y + 1), mid, tip], 2.2, 0.25)}" fill="{LASH}" opacity="{0.65 + 0.3 * rng.random():.2f}"/>')
        for i in range(15):
            t = 0.06 + 0.72 * (i + 0.5 * rng.random()) / 15
            x, y = spline(lower, t)
            size = 5.5 + 2.5 * rng.random()
            lean = side * (0.9 - 1.1 * t)
            out.append(f'<path d="{taper([(x, y), (x + lean * 2, y + size * 0.5), (x + lean * 5, y + size * 0.9)], 1.3, 0.25)}" fill="{LASH}" opacity="0.5"/>')
        rim = [spline(lower, t / 16 * 0.85) for t in range(17)]
        out.append(f'<path d="{taper(rim, 3.4, 0.25)}" fill="#4a2018" opacity="0.6" filter="{s.blur(0.7)}"/>')
        return out

    # Brows -----------------------------------------------------------------------------------

    def brows(self):
        s, rng, out = self.s, self.rng, []
        for side in (-1, 1):
            lift = 3 if side > 0 else 0
            spine = [(side * x, y - lift) for x, y in [(36, -62), (60, -73), (92, -83), (126, -86), (154, -73), (174, -52)]]
            points = [spline(spine, t / 20) for t in range(21)]
            out.append(f'<path d="{taper(points, 21, 0.3)}" fill="#4a241a" opacity="0.62" filter="{s.blur(3.5)}"/>')
            for _ in range(330):
                t = rng.random() ** 0.9
                x, y = spline(spine, t)
                thick = 11 * min(1, 0.5 + 3 * t) * (1 - t) ** 0.55 + 1.5
                off = rng.uniform(-1, 1)
                y += off * thick
                rise = 1.25 - 1.9 * t - 0.65 * max(-off, 0) - 0.2 * off  # hairs stand up near the nose, lie down outside
                size = 17 + 10 * rng.random() - 4 * t
                a = max(min(rise, 1.25), -0.75) + rng.gauss(0, 0.07)
                dx, dy = side * size * cos(a), -size * sin(a)
                colour = mix("#2a1310", "#6b3a26", rng.random() ** 1.4)
                hair = [(x, y), (x + dx * 0.5, y + dy * 0.55), (x + dx, y + dy * 0.9)]
                out.append(f'<path d="{taper(hair, 1.6, 0.3)}" fill="{colour}" opacity="{(0.3 + 0.4 * rng.random()) * min(1, 0.35 + 6 * t):.2f}"/>')
        return group(out)

    # Nose ------------------------------------------------------------------------------------

    def nose(self):
        s = self.s
        parts = [s.glow(30, 146, 46, 15, "#7a2f22", 0.5, -6), s.glow(26, 60, 14, 60, "#8f4632", 0.22, -7)]
        for side in (-1, 1):
            k = lambda pts: [(side * x, y) for x, y in pts]
            nostril = curve(k([(9, 137), (16, 130), (26, 129), (33, 135), (27, 140), (15, 141)]), closed=True)
            parts.append(s.soft(nostril, "#3b0f0e", 1.8, 0.9))
            wing = [spline(k([(42, 104), (47.5, 117), (45, 131), (35, 138)]), t / 12) for t in range(13)]
            parts.append(f'<path d="{taper(wing, 5.0, 0.68)}" fill="#7f3526" opacity="{0.42 if side < 0 else 0.62}" filter="{s.blur(1.8)}"/>')
        base = [spline([(-30, 141), (-14, 144), (0, 149), (14, 144), (30, 141)], t / 16) for t in range(17)]
        parts.append(f'<path d="{taper(base, 5)}" fill="#7a2f22" opacity="0.5" filter="{s.blur(2)}"/>')
        parts += [s.glow(-8, 101, 13, 10, "#fff6e6", 0.7, -20), s.glow(-5, 40, 8, 52, "#fff0d8", 0.42), s.glow(-34, 118, 9, 8, "#ffeeda", 0.35)]
        return group(parts)

    # Lips ------------------------------------------------------------------------------------

    def lips(self):
        s, rng = self.s, self.rng
        line = [(-77, 198), (-60, 206.5), (-38, 212.5), (-17, 213), (0, 215), (17, 213), (38, 212), (60, 205.5), (78, 196)]
        top = [(-77, 198), (-58, 194), (-35, 188.5), (-16, 184.5), (0, 189.5), (16, 184.5), (35, 188), (58, 193), (78, 196)]
        low = [(78, 196), (64, 216), (40, 236), (14, 245), (-14, 245), (-40, 237), (-63, 218), (-77, 198)]
        upper = curve(top + line[::-1][1:-1], closed=True)
        lower = curve(line + low[1:-1], closed=True)
        up_fill = s.linear(0, 186, 0, 216, [(0, "#c8625a"), (0.3, "#b04944"), (0.75, LIP["deep"]), (1, LIP["dark"])])
        low_fill = s.linear(0, 208, 0, 246, [(0, LIP["dark"]), (0.14, LIP["deep"]), (0.4, LIP["mid"]), (0.62, LIP["light"]), (1, LIP["deep"])])
        under = curve([(-48, 244), (-20, 250), (20, 250), (52, 243), (30, 258), (0, 262), (-28, 259)], closed=True)
        out = [s.soft(under, "#7a2f20", 5, 0.5), s.soft(curve(top + low[1:-1], closed=True), "#b3574a", 3.5, 0.7)]
        lower_parts = [fill(lower, low_fill), s.glow(36, 230, 40, 18, "#7c2d2c", 0.30), s.glow(0, 244, 56, 7, "#7c2d2c", 0.35)]
        for _ in range(64):
            x = rng.gauss(0, 30)
            if abs(x) > 66:
                continue
            reach = 1 - (x / 80) ** 2
            y0 = 217 + rng.random() * 3
            y1 = y0 + reach * (9 + 11 * rng.random())
            d = f"M{x:.1f} {y0:.1f}Q{x * 1.03:.1f} {(y0 + y1) / 2:.1f} {x * 1.09:.1f} {y1:.1f}"
            lower_parts.append(stroke(d, rng.choice(("#7f2f2d", "#e79c90")), 1.0, 0.12 + 0.10 * rng.random()))
        lower_parts += [
            s.glow(-22, 227, 25, 7.5, LIP["shine"], 0.75, -4), s.glow(14, 229, 18, 6, LIP["shine"], 0.42, 4),
            s.glow(-24, 226, 10, 3.2, "#ffffff", 0.6, -5),
        ]
        upper_parts = [fill(upper, up_fill)]
        for _ in range(40):
            x = rng.gauss(0, 30)
            if abs(x) > 64:
                continue
            d = f"M{x:.1f} 212Q{x * 0.99:.1f} 204 {x * 0.96:.1f} {197 + abs(x) * 0.1:.1f}"
            upper_parts.append(stroke(d, rng.choice(("#7a2c2b", "#c87a70")), 0.9, 0.08 + 0.1 * rng.random()))
        upper_parts.append(s.glow(-26, 197, 24, 4.5, "#ffcdb8", 0.42, -12))
        soft = s.blur(1.0)
        out += [
            group([group(upper_parts, clip_path=s.clip(upper))], filter=soft),
            group([group(lower_parts, clip_path=s.clip(lower))], filter=soft),
            f'<path d="{curve([(-54, 190), (-35, 185), (-16, 181), (0, 186), (16, 181), (35, 184.5), (54, 189)])}" fill="none" stroke="#ffe6d0" stroke-width="3" opacity="0.3" filter="{s.blur(1.6)}"/>',
        ]
        seam = [spline(line, t / 32) for t in range(33)]
        out += [
            f'<path d="{taper([(x, y + 0.5) for x, y in seam], 7.5)}" fill="#4a1416" opacity="0.55" filter="{s.blur(1.8)}"/>',
            f'<path d="{taper(seam, 4.2)}" fill="#36100f" opacity="0.95" filter="{s.blur(0.5)}"/>',
        ]
        for side, y in ((-1, 198), (1, 196)):
            out.append(s.glow(side * 80, y, 10, 8, "#6d271e", 0.45))
            out.append(s.glow(side * 78, y, 5, 3.5, "#3a0f0e", 0.75))
        return group(out)


def crease_points(points):
    return [spline(points, t / 20) for t in range(21)]
