"""Visibility and normals of skin points in each frame, by a depth test."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool2d, normalize

from headsplat.camera import project
from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.model import HeadModel
from headsplat.heads.normals import vertex_normals
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle
from headsplat.tracking.basis import LandmarkBasis
from headsplat.tracking.layout import Layout, State, eye_vectors
from headsplat.tracking.photometric.surface import SurfacePoints

# Side of the depth images, pixels, and tolerance of the depth test, meters.
DEPTH_SIZE, BEHIND = 192, 0.006
# Width of depth edges in pixels, and depth of the background.
EDGE, BEYOND = 3, 1e3
# Cosine to the line of sight: none below the first, full weight above the second.
FACING_NONE, FACING_FULL = 0.3, 0.6


class Visibility:
    """Computes which skin points of one head are visible.

    Args:
        head: the model.
        basis: source of the identity and expression spaces.
        layout: of the unknowns.
        points: the skin points.
        size: side of the image, pixels.
        center: principal point in it.
    """

    def __init__(
        self,
        head: HeadModel,
        basis: LandmarkBasis,
        layout: Layout,
        points: SurfacePoints,
        size: int,
        center: tuple[float, float],
    ) -> None:
        device = points.device
        self._geometry = HeadGeometry(head, device)
        self._layout, self._points, self._device = layout, points, device
        self._basis = basis
        self._shrink = DEPTH_SIZE / size
        self._center = torch.tensor(center, device=device) * self._shrink

    def __call__(self, state: State) -> tuple[Tensor, Tensor]:
        """Visible share of each point (N, M) in 0..1, and normals (N, M, 3) in camera axes."""
        layout, points = self._layout, self._points
        frame, rotation = state.frame, state.rotation.float()
        space = self._basis.expression_space
        coordinates = frame[:, layout.expression]
        matrix = torch.as_tensor(space.matrix, device=self._device)
        mean = torch.as_tensor(space.mean, device=self._device)
        identity = self._basis.identity_space
        shape = (
            torch.as_tensor(identity.mean, device=self._device)
            + state.shared[layout.identity]
            @ torch.as_tensor(identity.matrix, device=self._device).T
        )
        vertices = self._geometry.vertices(
            shape.float(),
            (mean + coordinates @ matrix.T).float(),
            matrix_from_axis_angle(frame[:, layout.jaw]).float(),
            matrix_from_axis_angle(eye_vectors(frame[:, layout.eyes])).float(),
            frame[:, layout.lids].float(),
        )
        focal = (state.shared[layout.focal].exp() * self._shrink).float()
        camera = torch.cat([focal.expand(2), self._center])
        screen = project(vertices, rotation, state.translation(layout).float(), camera)
        faces = self._geometry.faces
        face, bary = rasterize_triangles(screen, faces, DEPTH_SIZE, DEPTH_SIZE)
        depth = interpolate(face, bary, faces, screen[..., 2:])[:, None, ..., 0]
        depth = torch.where(face[:, None] < 0, BEYOND, depth)
        # Points near a depth edge are mixed with the background, or occluded in the next frame.
        nearest = -max_pool2d(-depth, EDGE, 1, EDGE // 2)
        ends = (max_pool2d(depth, EDGE, 1, EDGE // 2) >= BEYOND).to(depth)
        corners, weights = faces[points.face], points.barycentric

        def at_points(values: Tensor) -> Tensor:
            return sum(values[:, corners[:, k]] * weights[:, k : k + 1] for k in range(3))

        normals = normalize(at_points(vertex_normals(vertices, faces)) @ rotation.mT, dim=-1)
        here = at_points(screen)
        grid = (2 * here[:, None, :, :2] / DEPTH_SIZE) - 1
        layers = torch.cat([nearest, ends], 1)
        front, ends = grid_sample(layers, grid, mode="nearest", align_corners=False)[
            :, :, 0
        ].unbind(1)
        shows = (here[..., 2] < front + BEHIND).float() * (1 - ends)
        sight = torch.cat([here[..., :2] - self._center, focal.expand_as(here[..., 2:])], -1)
        facing = -(normals * normalize(sight, dim=-1)).sum(-1)
        share = ((facing - FACING_NONE) / (FACING_FULL - FACING_NONE)).clamp(0, 1)
        return shows * share * share * (3 - 2 * share), normals
