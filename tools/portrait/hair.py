"""The hair: locks between two guide curves, each lock filled, shaded and combed with strands."""

from math import pi, sin

from pen import curve, fill, group, mix, spline, taper

DARK, BASE, WARM, SHINE, COOL = "#1d0d0c", "#43211a", "#8a4627", "#eda45e", "#9cc4cd"


class Mass:
    """A body of hair between two guides of equal length; strands are addressed by t (across) and u (along), 0..1."""

    def __init__(self, inner, outer, wave=0.0, locks=9, pinched=False):
        self.inner, self.outer, self.wave, self.locks = inner, outer, wave, locks
        self.pinched = pinched  # strands spring from one point instead of a parting

    def at(self, t, u, phase=0.0):
        (ax, ay), (bx, by) = spline(self.inner, u), spline(self.outer, u)
        grown = max(u - 0.30, 0) / 0.70
        sway = self.wave * grown * sin(2 * pi * (1.7 * grown + 0.25 * t + phase))
        return ax + (bx - ax) * t + sway, ay + (by - ay) * t

    def strand(self, t, u0=0.0, u1=1.0, n=14):
        return [self.at(t, u0 + (u1 - u0) * i / n) for i in range(n + 1)]

    def cuts(self, rng):
        at = [0.0]
        for _ in range(self.locks):
            at.append(at[-1] + rng.uniform(0.7, 1.4))
        return [(a / at[-1], b / at[-1]) for a, b in zip(at, at[1:])]


class Hair:
    def __init__(self, sheet, rng):
        self.s, self.rng = sheet, rng

    def draw(self, mass, light, shine):
        """All locks of a mass. light: share of the key light, 0..1; shine: (centre, half width) of the bright band in u."""
        spans = mass.cuts(self.rng)
        under = []
        if not mass.pinched:
            edge = mass.strand(0.09, 0, 0.70, 18) + mass.strand(0.91, 0.70, 0, 18)
            under = [self.s.soft(curve(edge, closed=True), mix(DARK, BASE, 0.35), 1.5)]
        return group(under + [self.lock(mass, span, light, shine) for span in reversed(spans)])

    def lock(self, mass, span, light, shine):
        s, rng = self.s, self.rng
        a, b = span
        reach = 1.0 - 0.15 * rng.random() ** 1.3
        phase = rng.uniform(-0.10, 0.10)
        tip = (a + b) / 2 + rng.gauss(0, 0.3) * (b - a)

        def gather(t, u):
            """Strands of one lock draw together towards its tip."""
            k = max((u / reach - 0.70) / 0.30, 0) ** 1.5
            if mass.pinched:
                k = max(k, 1 - u / 0.25)
            return t + (tip - t) * min(k, 0.93 if mass.pinched else 0.80)

        def strand(t, u0, u1, n):
            us = [u0 + (u1 - u0) * i / n for i in range(n + 1)]
            return [mass.at(gather(t, u), u, phase) for u in us]

        lo, hi = strand(a - 0.02, 0, reach, 18), strand(b + 0.20 * (b - a), 0, reach, 18)
        shape = curve(lo + hi[::-1], closed=True)
        tint = mix(BASE, WARM, light * (0.15 + 0.45 * rng.random()))
        out = [
            s.soft(curve([(x, y + 4) for x, y in lo + hi[::-1]], closed=True), "#100505", 4, 0.42),
            fill(shape, tint),
            f'<path d="{curve(lo)}" fill="none" stroke="{DARK}" stroke-width="6" opacity="0.6" filter="{s.blur(2.5)}"/>',
        ]
        wide = (b - a) * 420
        for _ in range(int(8 + wide * 0.36)):
            t = a + (b - a) * rng.random()
            u0, u1 = 0.35 * rng.random(), reach * (0.7 + 0.32 * rng.random())
            height = (t - a) / (b - a)
            colour = mix(mix(DARK, BASE, 0.25 + 0.75 * height), WARM, (0.25 + light) * 0.8 * height * rng.random())
            path = taper(strand(t, u0, min(u1, 1.0), 6), 1.0 + 2.0 * rng.random())
            out.append(f'<path d="{path}" fill="{colour}" opacity="{0.35 + 0.45 * rng.random():.2f}"/>')
        if not mass.pinched:
            for _ in range(int(3 + wide * 0.2)):
                t = a + (b - a) * rng.random()
                path = taper(strand(t, 0, 0.08 + 0.10 * rng.random(), 4), 3.4, 0.25)
                out.append(f'<path d="{path}" fill="{DARK}" opacity="{0.25 + 0.35 * rng.random():.2f}"/>')
        centre = shine[0] + rng.uniform(-0.03, 0.03)
        for _ in range(int(3 + wide * 0.26 * light)):
            t = a + (b - a) * (0.30 + 0.65 * rng.random())
            c = centre + rng.gauss(0, shine[1] * 0.22)
            half = shine[1] * (0.30 + 0.70 * rng.random())
            colour = mix(WARM, SHINE, rng.random() ** 0.7)
            path = taper(strand(t, max(c - half, 0), min(c + half, reach), 5), 1.0 + 1.9 * rng.random())
            out.append(f'<path d="{path}" fill="{colour}" opacity="{(0.25 + 0.55 * rng.random()) * (0.45 + 0.55 * light):.2f}"/>')
        return group(out)

    def wisps(self, mass, count, colour, width, opacity):
        """Loose hairs that leave the mass a little."""
        rng, out = self.rng, []
        for _ in range(count):
            t, drift, lift = rng.uniform(-0.04, 1.05), rng.gauss(0, 8), rng.random() * 0.4
            points = mass.strand(t, lift, min(lift + 0.3 + 0.6 * rng.random(), 1.0), 10)
            bent = [(x + drift * (i / 10) ** 2, y + drift * 0.4 * (i / 10) ** 2) for i, (x, y) in enumerate(points)]
            out.append(f'<path d="{taper(bent, width * (0.7 + 0.7 * rng.random()))}" fill="{colour}" opacity="{opacity}"/>')
        return group(out)

    def back(self):
        """What hangs behind the neck."""
        left = Mass(
            [(0, -250), (-120, -200), (-160, -60), (-140, 120), (-90, 260), (-84, 340), (-70, 400), (-40, 428)],
            [(0, -340), (-190, -310), (-278, -120), (-280, 60), (-298, 240), (-300, 350), (-262, 436), (-196, 474)], 14, 9,
        )
        right = Mass(
            [(0, -250), (120, -200), (160, -60), (140, 120), (90, 260), (84, 340), (70, 396), (40, 424)],
            [(0, -340), (190, -310), (270, -120), (280, 80), (308, 240), (310, 350), (272, 440), (206, 478)], -14, 9,
        )
        return group([
            self.draw(left, 0.42, (0.60, 0.12)), self.draw(right, 0.16, (0.62, 0.12)),
            self.wisps(left, 16, WARM, 1.8, 0.5), self.wisps(right, 16, BASE, 1.8, 0.7),
        ])

    def front(self):
        """The parted top: a wide sweep to the left, tucked behind the ear, and a wave down the right.

        Returns the shadows it casts on the skin, and the hair.
        """
        s = self.s
        sweep = Mass(
            [(66, -234), (46, -249), (6, -256), (-72, -242), (-138, -192), (-180, -122), (-204, -56), (-222, 20)],
            [(46, -376), (16, -387), (-46, -388), (-158, -360), (-242, -286), (-280, -176), (-278, -60), (-250, 60)], 0, 11,
        )
        wave = Mass(
            [(66, -234), (84, -245), (116, -238), (158, -188), (187, -112), (199, -30), (210, 60), (216, 150), (208, 230), (186, 310), (140, 372)],
            [(46, -376), (72, -385), (140, -374), (230, -318), (283, -226), (298, -110), (294, 30), (318, 150), (336, 250), (312, 360), (232, 462)], 13, 10,
        )
        left = curve([(66, -232), (8, -252), (-70, -237), (-136, -185), (-176, -116), (-199, -46), (-200, 20)])
        right = curve([(66, -232), (114, -232), (156, -182), (182, -108), (195, -30), (204, 60), (208, 140)])
        casts = [
            f'<path d="{d}" fill="none" stroke="#5a2418" stroke-width="{w}" opacity="{o}" filter="{s.blur(b)}"/>'
            for d, w, o, b in ((left, 30, 0.5, 10), (left, 10, 0.6, 3.5), (right, 36, 0.6, 11), (right, 11, 0.6, 3.5))
        ]
        return group(casts), group([
            self.draw(wave, 0.50, (0.27, 0.11)),
            self.draw(sweep, 1.0, (0.44, 0.20)),
            self.s.glow(-150, -262, 120, 62, "#ffc98a", 0.30, -42), self.s.glow(206, -230, 70, 40, "#d99a6a", 0.22, 52),
            self.parting(),
            self.wisps(sweep, 34, "#c07a44", 1.5, 0.5), self.wisps(wave, 26, "#5d3020", 1.6, 0.6),
            self.rim(wave),
        ])

    def parting(self):
        """The scalp showing along the parting, between two banks of shadow."""
        s = self.s
        seam = [(47, -368), (55, -332), (57, -290), (64, -258), (66, -236)]
        points = [spline(seam, i / 16) for i in range(17)]
        return group([
            f'<path d="{taper(points, 20, 0.6)}" fill="{DARK}" opacity="0.55" filter="{s.blur(6)}"/>',
            f'<path d="{taper(points[3:], 3.0, 0.8)}" fill="#9a5638" opacity="0.6" filter="{s.blur(1.1)}"/>',
        ])

    def over_ear(self):
        """A thin lock in front of the ear, so that the ear sits in the hair."""
        lock = Mass([(-120, -214), (-176, -130), (-200, -68), (-216, -24), (-226, 6)], [(-130, -222), (-200, -150), (-228, -80), (-238, -30), (-234, 4)], 0, 2, True)
        return group([self.draw(lock, 0.55, (0.40, 0.2)), self.wisps(lock, 8, "#b4703f", 1.5, 0.6)])

    def rim(self, mass):
        """Cool back light on the outer strands of the shaded side."""
        rng, out = self.rng, []
        for _ in range(70):
            u = rng.uniform(0.15, 0.78)
            points = mass.strand(1.02 - 0.13 * rng.random() ** 1.5, u, u + rng.uniform(0.08, 0.2), 8)
            out.append(f'<path d="{taper(points, 2.0)}" fill="{COOL}" opacity="{0.10 + 0.30 * rng.random():.2f}"/>')
        return group(out, filter=self.s.blur(0.7))
