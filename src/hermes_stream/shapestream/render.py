"""Pictures of a script: any size, any moment, legible after a resize to 48×48.

Shape letters: Y X C image height, width, channel.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream.script import ENTER_SECONDS, SLOTS, Presence, Scene, Script

OBJECT_RGB = {
    "red": (215, 25, 25),
    "green": (15, 140, 40),
    "blue": (25, 60, 215),
    "yellow": (250, 215, 0),
    "purple": (145, 25, 165),
    "white": (255, 255, 255),
}
ROOM_RGB = {
    "blue": (140, 175, 225),
    "green": (150, 205, 150),
    "red": (230, 150, 140),
    "yellow": (230, 220, 150),
    "purple": (190, 155, 215),
    "gray": (170, 170, 170),
    "brown": (150, 110, 75),
    "black": (60, 60, 65),
}

_RADIUS = {"small": 0.135, "large": 0.2}
_WIDEST_RADIUS = 0.24
_WIDEST_RADIUS_OF_SEVERAL = 0.14
_OBJECT_HEIGHT = 0.64
_OUTLINE_RGB = (20, 20, 20)
_PANEL_RGB = (10, 15, 10)
_SEGMENT_RGB = (120, 255, 140)
# Segments a to g of a seven-segment display, as lines between points of a 1×2 cell.
_SEGMENTS = {
    "a": ((0, 0), (1, 0)),
    "b": ((1, 0), (1, 1)),
    "c": ((1, 1), (1, 2)),
    "d": ((0, 2), (1, 2)),
    "e": ((0, 1), (0, 2)),
    "f": ((0, 0), (0, 1)),
    "g": ((0, 1), (1, 1)),
}
_DIGIT_SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")


def render_frame(script: Script, time_seconds: float, width: int, height: int) -> NDArray[np.uint8]:
    """The picture at a moment of the script: uint8 RGB `[height, width, 3]`.

    Raises ConfigError for a time outside the script or a side below 16 pixels.
    """
    smallest_pixels = 16
    if width < smallest_pixels or height < smallest_pixels:
        raise ConfigError(f"a frame needs at least {smallest_pixels} pixels a side, got {width}x{height}")
    scene = script.scene_at(time_seconds)
    image = _room_image(scene, width, height).copy()
    presence = script.presence_at(time_seconds)
    if presence is not None:
        draw = ImageDraw.Draw(image)
        radius = _radius_pixels(presence, width, height)
        for x in object_centers(presence, time_seconds):
            _draw_shape(draw, presence, x * width, _OBJECT_HEIGHT * height, radius)
    return np.asarray(image)


def object_centers(presence: Presence, time_seconds: float) -> tuple[float, ...]:
    """Horizontal centres of the visible copies, in frame widths; below 0 or above 1 while they slide in or out."""
    slide = _slide(presence, time_seconds)
    if presence.count > 1:
        names = ("left", "right") if presence.count == 2 else ("left", "middle", "right")
        return tuple(SLOTS[name] + slide for name in names)
    start, end = SLOTS[presence.slot], SLOTS[presence.end_slot]
    duration = presence.move_end_seconds - presence.move_start_seconds
    done = (time_seconds - presence.move_start_seconds) / duration if duration > 0 else 1.0
    return (start + (end - start) * min(max(done, 0.0), 1.0) + slide,)


def _slide(presence: Presence, time_seconds: float) -> float:
    """How far the presence still is from its place: it enters from the side of its slot and leaves the same way."""
    side = 1.3 if SLOTS[presence.slot] > 0.5 else -1.3
    if presence.slides_in and time_seconds < presence.start_seconds + ENTER_SECONDS:
        return side * (1 - (time_seconds - presence.start_seconds) / ENTER_SECONDS)
    side = 1.3 if SLOTS[presence.end_slot] > 0.5 else -1.3
    if presence.slides_out and time_seconds > presence.end_seconds - ENTER_SECONDS:
        return side * (1 - (presence.end_seconds - time_seconds) / ENTER_SECONDS)
    return 0.0


def _radius_pixels(presence: Presence, width: int, height: int) -> float:
    widest = _WIDEST_RADIUS if presence.count == 1 else _WIDEST_RADIUS_OF_SEVERAL
    return min(_RADIUS[presence.size] * math.sqrt(width * height), widest * width, 0.3 * height)


@lru_cache(maxsize=64)
def _room_image(scene: Scene, width: int, height: int) -> Image.Image:
    """Wall, texture, floor and display: all that stands still during a scene."""
    shade = 0.92 + 0.16 * scene.shade
    wall = _scaled(ROOM_RGB[scene.room], shade)
    image = Image.new("RGB", (width, height), wall)
    draw = ImageDraw.Draw(image)
    _draw_texture(draw, scene, _scaled(wall, 0.92), width, height)
    draw.rectangle((0, 0.88 * height, width, height), fill=_scaled(wall, 0.8))
    if scene.digit is not None:
        _draw_display(draw, scene.digit, width, height)
    return image


def _draw_texture(draw: ImageDraw.ImageDraw, scene: Scene, rgb: tuple[int, ...], width: int, height: int) -> None:
    step = width / 8
    if scene.texture == "stripes":
        for index in range(-1, 9):
            x = (index + scene.phase) * step
            draw.rectangle((x, 0, x + step / 2, height), fill=rgb)
    elif scene.texture == "dots":
        for index_x in range(-1, 9):
            for index_y in range(6):
                x, y = (index_x + scene.phase) * step, (index_y + 0.5) * height / 6
                draw.ellipse((x, y, x + step / 3, y + step / 3), fill=rgb)


def _draw_display(draw: ImageDraw.ImageDraw, digit: int, width: int, height: int) -> None:
    left, top, right, bottom = 0.74 * width, 0.03 * height, 0.97 * width, 0.36 * height
    draw.rectangle((left, top, right, bottom), fill=_PANEL_RGB)
    cell_x, cell_y = 0.5 * (right - left), 0.34 * (bottom - top)
    origin_x, origin_y = left + 0.25 * (right - left), top + 0.16 * (bottom - top)
    line = max(1, round(0.028 * math.sqrt(width * height)))
    for name in _DIGIT_SEGMENTS[digit]:
        points = [(origin_x + x * cell_x, origin_y + y * cell_y) for x, y in _SEGMENTS[name]]
        draw.line(points, fill=_SEGMENT_RGB, width=line)


def _draw_shape(draw: ImageDraw.ImageDraw, presence: Presence, x: float, y: float, radius: float) -> None:
    fill = OBJECT_RGB[presence.kind.color]
    line = max(1, round(radius / 9))
    box = (x - radius, y - radius, x + radius, y + radius)
    match presence.kind.shape:
        case "circle":
            draw.ellipse(box, fill=fill, outline=_OUTLINE_RGB, width=line)
        case "ring":
            draw.ellipse(box, outline=_OUTLINE_RGB, width=round(0.55 * radius))
            inner = radius - line
            draw.ellipse((x - inner, y - inner, x + inner, y + inner), outline=fill, width=round(0.42 * radius))
        case "square":
            side = 0.88 * radius
            draw.rectangle((x - side, y - side, x + side, y + side), fill=fill, outline=_OUTLINE_RGB, width=line)
        case shape:
            points = [(x + radius * px, y + radius * py) for px, py in _POLYGONS[shape]]
            draw.polygon(points, fill=fill, outline=_OUTLINE_RGB, width=line)


def _star() -> tuple[tuple[float, float], ...]:
    points = []
    for index in range(10):
        length = 1.1 if index % 2 == 0 else 0.45
        angle = math.pi * (index / 5 - 0.5)
        points.append((length * math.cos(angle), length * math.sin(angle)))
    return tuple(points)


_ARM = 0.34
_POLYGONS: dict[str, tuple[tuple[float, float], ...]] = {
    "triangle": ((0.0, -1.0), (1.0, 0.9), (-1.0, 0.9)),
    "star": _star(),
    "cross": (
        (-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM),
        (_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM),
    ),
}  # fmt: skip


def _scaled(rgb: tuple[int, ...], factor: float) -> tuple[int, ...]:
    return tuple(min(255, round(value * factor)) for value in rgb)
