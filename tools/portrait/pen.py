"""A small pen for SVG text: paths, curves, gradients and soft shapes.

Everything returns strings; `Sheet` collects the definitions they refer to.
Colours are `#rrggbb`, lengths are user units (pixels of the picture).
"""


def num(v):
    s = f"{v:.1f}"
    return s[:-2] if s.endswith(".0") else s


def mix(a, b, t):
    """Linear mix of two `#rrggbb` colours, t in 0..1."""
    t = min(max(t, 0.0), 1.0)
    pa, pb = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (a, b))
    return "#%02x%02x%02x" % tuple(round(x + (y - x) * t) for x, y in zip(pa, pb))


def ramp(stops, t):
    """Colour of a list of (position, colour) stops at t."""
    if t <= stops[0][0]:
        return stops[0][1]
    for (t0, c0), (t1, c1) in zip(stops, stops[1:]):
        if t <= t1:
            return mix(c0, c1, (t - t0) / (t1 - t0))
    return stops[-1][1]


def curve(points, closed=False):
    """Path data of a Catmull-Rom spline through the points."""
    n = len(points)
    at = (lambda i: points[i % n]) if closed else (lambda i: points[min(max(i, 0), n - 1)])
    d = [f"M{num(points[0][0])} {num(points[0][1])}"]
    for i in range(n if closed else n - 1):
        p0, p1, p2, p3 = at(i - 1), at(i), at(i + 1), at(i + 2)
        c1 = (p1[0] + (p2[0] - p0[0]) / 6, p1[1] + (p2[1] - p0[1]) / 6)
        c2 = (p2[0] - (p3[0] - p1[0]) / 6, p2[1] - (p3[1] - p1[1]) / 6)
        d.append("C" + " ".join(f"{num(x)} {num(y)}" for x, y in (c1, c2, p2)))
    return "".join(d) + ("Z" if closed else "")


def spline(points, t):
    """Point of the Catmull-Rom spline through the points at t in 0..1."""
    n = len(points) - 1
    i = min(int(t * n), n - 1)
    u = t * n - i
    p0, p1, p2, p3 = (points[min(max(k, 0), n)] for k in (i - 1, i, i + 1, i + 2))
    return tuple(
        0.5 * (2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u * u + (3 * b - a - 3 * c + d) * u**3)
        for a, b, c, d in zip(p0, p1, p2, p3)
    )


def taper(points, width, lean=0.5):
    """Path data of a closed stroke that is `width` wide at `lean` of its length and thin at both ends."""
    left, right = [], []
    n = len(points) - 1
    for i, (x, y) in enumerate(points):
        a, b = points[max(i - 1, 0)], points[min(i + 1, n)]
        dx, dy = b[0] - a[0], b[1] - a[1]
        m = (dx * dx + dy * dy) ** 0.5 or 1.0
        t = i / n
        u = t / lean if t < lean else (1 - t) / (1 - lean)
        w = width / 2 * (1 - (1 - u) ** 2)
        left.append((x - dy / m * w, y + dx / m * w))
        right.append((x + dy / m * w, y - dx / m * w))
    return curve(left + right[::-1][1:], closed=True)


class Sheet:
    """Collects gradients, blurs, clips and masks and hands out their names."""

    def __init__(self):
        self.defs, self.blurs = [], {}

    def add(self, tag, attributes, inside):
        name = f"d{len(self.defs)}"
        self.defs.append(f'<{tag} id="{name}" {attributes}>{inside}</{tag}>')
        return name

    def linear(self, x1, y1, x2, y2, stops):
        a = f'gradientUnits="userSpaceOnUse" x1="{num(x1)}" y1="{num(y1)}" x2="{num(x2)}" y2="{num(y2)}"'
        return f"url(#{self.add('linearGradient', a, stop_tags(stops))})"

    def radial(self, cx, cy, r, stops, squash=1.0):
        a = f'gradientUnits="userSpaceOnUse" cx="{num(cx)}" cy="{num(cy)}" r="{num(r)}"'
        if squash != 1.0:
            a += f' gradientTransform="translate(0 {num(cy)}) scale(1 {squash}) translate(0 {num(-cy)})"'
        return f"url(#{self.add('radialGradient', a, stop_tags(stops))})"

    def clip(self, d):
        return f"url(#{self.add('clipPath', '', f'<path d={chr(34)}{d}{chr(34)}/>')})"

    def blur(self, sigma):
        if sigma not in self.blurs:
            a = 'x="-60%" y="-60%" width="220%" height="220%" color-interpolation-filters="sRGB"'
            self.blurs[sigma] = self.add("filter", a, f'<feGaussianBlur stdDeviation="{sigma}"/>')
        return f"url(#{self.blurs[sigma]})"

    def soft(self, d, fill, sigma, opacity=1.0):
        """A filled path with blurred edges."""
        return f'<path d="{d}" fill="{fill}" opacity="{opacity:.3g}" filter="{self.blur(sigma)}"/>'

    def glow(self, cx, cy, rx, ry, fill, opacity, turn=0):
        """A soft elliptic patch: cheaper and smoother than a blurred ellipse."""
        g = self.radial(0, 0, 1, [(0, fill, opacity), (0.35, fill, opacity * 0.74), (0.7, fill, opacity * 0.22), (1, fill, 0)])
        t = f"translate({num(cx)} {num(cy)}) rotate({num(turn)}) scale({num(rx)} {num(ry)})"
        return f'<circle r="1" fill="{g}" transform="{t}"/>'


def stop_tags(stops):
    out = []
    for offset, colour, *opacity in stops:
        o = f' stop-opacity="{opacity[0]:.3g}"' if opacity else ""
        out.append(f'<stop offset="{offset:g}" stop-color="{colour}"{o}/>')
    return "".join(out)


def fill(d, paint, opacity=1.0):
    o = "" if opacity == 1.0 else f' opacity="{opacity:.3g}"'
    return f'<path d="{d}" fill="{paint}"{o}/>'


def stroke(d, paint, width, opacity=1.0):
    o = "" if opacity == 1.0 else f' opacity="{opacity:.3g}"'
    return f'<path d="{d}" fill="none" stroke="{paint}" stroke-width="{num(width)}" stroke-linecap="round" stroke-linejoin="round"{o}/>'


def group(parts, **attributes):
    a = " ".join(f'{k.replace("_", "-")}="{v}"' for k, v in attributes.items())
    return f"<g {a}>" + "".join(parts) + "</g>"
