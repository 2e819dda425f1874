"""The skin as a lit relief: a head-shaped base with soft bumps, shaded, then cut into iso-tone contours.

Vector pictures have no shading of curved forms; a stack of about fifty tone contours, slightly blurred,
gives one. Coordinates: origin midway between the pupils, y down, pixels of the picture.
"""

from math import exp, sqrt

from pen import num, ramp

# (x, y, sigma x, sigma y, height); an entry with x != 0 is mirrored.
BUMPS = [
    (92, -66, 62, 20, 9), (0, -64, 46, 44, 6),            # brow ridge, glabella
    (98, -4, 60, 34, -24), (99, 0, 45, 27, 20),           # socket, eyeball
    (44, -6, 15, 24, -13), (150, -8, 18, 30, -4),         # inner and outer corner
    (0, 10, 18, 62, 17), (0, 70, 20, 40, 9),              # bridge of the nose
    (0, 108, 25, 23, 27), (31, 121, 14, 14, 13),          # tip, wings
    (0, 148, 42, 11, -8), (55, 128, 10, 16, -5),          # under the nose, beside the wings
    (118, 84, 54, 46, 29), (108, 62, 44, 14, 3),          # cheek, under-eye pad
    (70, 158, 13, 24, -8), (90, 186, 12, 22, -7),         # fold from nose to mouth
    (0, 178, 7, 16, -3), (12, 178, 7, 18, 2.5),           # philtrum
    (0, 200, 50, 13, 7), (0, 229, 44, 14, 9),             # lips
    (87, 199, 13, 11, -8), (0, 258, 42, 12, -12),         # mouth corners, fold under the lip
    (0, 283, 38, 25, 19), (0, -180, 130, 90, 8),         # chin, forehead
    (185, -70, 26, 70, -7),                               # temple
]
# Hollows that light hardly reaches: (x, y, sigma x, sigma y, strength), mirrored as above.
SHADE = [
    (58, -18, 26, 17, 0.20), (104, -27, 52, 9, 0.12), (30, 30, 9, 40, 0.05),
    (44, 130, 8, 12, 0.10), (0, 147, 32, 8, 0.20), (0, 257, 46, 9, 0.15),
    (94, 199, 10, 10, 0.12), (0, 322, 110, 24, 0.14),
]
KEY, FILL = (-0.45, -0.40, 0.80), (0.66, 0.18, 0.73)
SKIN = [
    (0.00, "#5a2620"), (0.16, "#7f3c30"), (0.30, "#a65945"), (0.44, "#c5785b"), (0.58, "#de9974"),
    (0.72, "#eeb592"), (0.84, "#f8cdab"), (0.94, "#fddfc0"), (1.00, "#ffebd2"),
]


def mirrored(entries):
    for x, *rest in entries:
        yield (x, *rest)
        if x:
            yield (-x, *rest)


def head_normal(x, y, half_width):
    """Normal of the bare head: an egg whose sections follow the silhouette's half width at y."""
    u, v = x / half_width, (y + 2) / 332
    r = sqrt(u * u + v * v)
    k = min(r, 0.985) / (r or 1.0) * min(r, 0.985) ** 0.35
    return u * k, v * k * 0.92


class Relief:
    """Tone and gloss of the skin at any point, given the silhouette's half width as a function of y."""

    def __init__(self, half_width):
        self.half_width = half_width
        self.bumps = list(mirrored(BUMPS))
        self.shade = list(mirrored(SHADE))

    def at(self, x, y):
        """(tone 0..1, gloss 0..1) at a point."""
        nx, ny = head_normal(x, y, self.half_width(y))
        nz = sqrt(max(1 - nx * nx - ny * ny, 0.02))
        gx = gy = 0.0
        for bx, by, sx, sy, h in self.bumps:
            dx, dy = (x - bx) / sx, (y - by) / sy
            q = dx * dx + dy * dy
            if q < 12:
                e = h * exp(-q / 2)
                gx, gy = gx - e * dx / sx, gy - e * dy / sy
        nx, ny = nx - gx * 0.8, ny - gy * 0.8
        m = sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx / m, ny / m, nz / m
        key = max((nx * KEY[0] + ny * KEY[1] + nz * KEY[2] + 0.34) / 1.34, 0) ** 1.35
        soft = max((nx * FILL[0] + ny * FILL[1] + nz * FILL[2] + 0.2) / 1.2, 0)
        tone = 0.04 + 0.66 * key + 0.235 * soft + 0.04 * nz
        for sx0, sy0, wx, wy, k in self.shade:
            dx, dy = (x - sx0) / wx, (y - sy0) / wy
            q = dx * dx + dy * dy
            if q < 12:
                tone *= 1 - k * exp(-q / 2)
        hx, hy, hz = KEY[0], KEY[1], KEY[2] + 1
        m = sqrt(hx * hx + hy * hy + hz * hz)
        gloss = max((nx * hx + ny * hy + nz * hz) / m, 0) ** 24
        return tone, gloss

    def grid(self, box, step):
        x0, y0, x1, y1 = box
        xs = [x0 + i * step for i in range(int((x1 - x0) / step) + 1)]
        ys = [y0 + i * step for i in range(int((y1 - y0) / step) + 1)]
        cells = [[self.at(x, y) for x in xs] for y in ys]
        return xs, ys, [[c[0] for c in row] for row in cells], [[c[1] for c in row] for row in cells]


def above(xs, ys, field, level):
    """Path data of the region where the field exceeds the level (marching squares, even-odd fill)."""
    w, h = len(xs), len(ys)
    low = level - 1.0

    def val(i, j):
        return field[j][i] if 0 <= i < w and 0 <= j < h else low

    def pos(i, j):
        step = xs[1] - xs[0]
        return xs[0] + i * step, ys[0] + j * step

    def cut(a, b):
        va, vb = val(*a), val(*b)
        t = (level - va) / (vb - va)
        (ax, ay), (bx, by) = pos(*a), pos(*b)
        return ax + (bx - ax) * t, ay + (by - ay) * t

    follow = {}
    for j in range(-1, h):
        for i in range(-1, w):
            ring = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
            inside = [val(*p) > level for p in ring]
            if all(inside) or not any(inside):
                continue
            enter, leave = [], []
            for k in range(4):
                a, b = ring[k], ring[(k + 1) % 4]
                if inside[k] != inside[(k + 1) % 4]:
                    (leave if inside[k] else enter).append((min(a, b), max(a, b)))
            for out, back in zip(leave, enter if len(enter) == 1 else enter[::-1]):
                follow[out] = back
    d = []
    while follow:
        start = next(iter(follow))
        ring, edge = [start], follow.pop(start)
        while edge != start and edge in follow:
            ring.append(edge)
            edge = follow.pop(edge)
        if len(ring) < 5:
            continue
        points = [cut(*e) for e in ring]
        points = points[::2] if len(points) > 24 else points
        d.append("M" + "L".join(f"{num(x)} {num(y)}" for x, y in points) + "Z")
    return "".join(d)


def tone_stack(xs, ys, tone, levels):
    """The relief's tones as stacked flat contours, darkest first."""
    x0, y0, x1, y1 = xs[0], ys[0], xs[-1], ys[-1]
    parts = [f'<path d="M{x0} {y0}H{x1}V{y1}H{x0}Z" fill="{ramp(SKIN, 0.0)}"/>']
    for k in range(levels):
        level = (k + 0.5) / levels
        d = above(xs, ys, tone, level)
        if d:
            parts.append(f'<path d="{d}" fill="{ramp(SKIN, (k + 1) / levels)}" fill-rule="evenodd"/>')
    return parts


def gloss_stack(xs, ys, gloss, levels, strength):
    """The relief's highlights as stacked translucent contours."""
    parts = []
    for k in range(levels):
        d = above(xs, ys, gloss, 0.05 + 0.93 * (k + 0.5) / levels)
        if d:
            parts.append(f'<path d="{d}" fill="#fff3e0" opacity="{strength / levels:.3g}" fill-rule="evenodd"/>')
    return parts
