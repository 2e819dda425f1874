"""The three nets that look at a frame, as plain PyTorch modules: re-implementations of S3FD, RTMPose (which comes with mmpose, whose packages no longer
install) and BiSeNet by their published architectures. Their parameters have the names of the released checkpoints, and those load strictly."""

import torch
from torch import nn
from torch.nn import functional as F


class L2Norm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) * self.weight[:, None, None]


class S3FD(nn.Module):
    """(1, 3, h, w) less its means -> six heads (confidence, location)."""

    BLOCKS = ((2, 3, 64), (2, 64, 128), (3, 128, 256), (3, 256, 512), (3, 512, 512))
    EXTRA = (("fc6", 512, 1024, 3, 1, 3), ("fc7", 1024, 1024, 1, 1, 0), ("conv6_1", 1024, 256, 1, 1, 0), ("conv6_2", 256, 512, 3, 2, 1),
             ("conv7_1", 512, 128, 1, 1, 0), ("conv7_2", 128, 256, 3, 2, 1))
    HEADS = (("conv3_3_norm", 256, 4), ("conv4_3_norm", 512, 2), ("conv5_3_norm", 512, 2), ("fc7", 1024, 2), ("conv6_2", 512, 2), ("conv7_2", 256, 2))

    def __init__(self):
        super().__init__()
        for i, (count, inside, outside) in enumerate(self.BLOCKS, 1):
            for j in range(1, count + 1):
                self.add_module(f"conv{i}_{j}", nn.Conv2d(inside if j == 1 else outside, outside, 3, padding=1))
        for name, inside, outside, side, stride, padding in self.EXTRA:
            self.add_module(name, nn.Conv2d(inside, outside, side, stride, padding))
        for name, channels, classes in self.HEADS:
            if name.endswith("norm"):
                self.add_module(name, L2Norm(channels))
            self.add_module(f"{name}_mbox_conf", nn.Conv2d(channels, classes, 3, padding=1))
            self.add_module(f"{name}_mbox_loc", nn.Conv2d(channels, 4, 3, padding=1))

    def forward(self, x):
        seen = {}
        for i, (count, _, _) in enumerate(self.BLOCKS, 1):
            for j in range(1, count + 1):
                x = F.relu(getattr(self, f"conv{i}_{j}")(x))
            if i >= 3:
                seen[f"conv{i}_3_norm"] = getattr(self, f"conv{i}_3_norm")(x)
            x = F.max_pool2d(x, 2, 2)
        for name, *_ in self.EXTRA:
            x = seen[name] = F.relu(getattr(self, name)(x))
        heads = []
        for name, _, _ in self.HEADS:
            confidence = getattr(self, f"{name}_mbox_conf")(seen[name])
            if confidence.shape[1] == 4:
                confidence = torch.cat([confidence[:, :3].amax(1, keepdim=True), confidence[:, 3:]], 1)
            heads.append((confidence, getattr(self, f"{name}_mbox_loc")(seen[name])))
        return heads


class Block(nn.Module):
    """Convolution, norm, activation, under the names of mmcv's ConvModule."""

    def __init__(self, inside, outside, side=1, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, side, stride, side // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outside)

    def forward(self, x):
        return F.silu(self.bn(self.conv(x)))


class Depthwise(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.depthwise_conv = Block(channels, channels, 5, groups=channels)
        self.pointwise_conv = Block(channels, channels)

    def forward(self, x):
        return self.pointwise_conv(self.depthwise_conv(x))


class NextBlock(nn.Module):
    def __init__(self, channels, identity):
        super().__init__()
        self.conv1, self.conv2, self.identity = Block(channels, channels, 3), Depthwise(channels), identity

    def forward(self, x):
        y = self.conv2(self.conv1(x))
        return x + y if self.identity else y


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))


class CSP(nn.Module):
    def __init__(self, channels, count, identity):
        super().__init__()
        middle = channels // 2
        self.main_conv, self.short_conv, self.final_conv = Block(channels, middle), Block(channels, middle), Block(channels, channels)
        self.blocks = nn.Sequential(*(NextBlock(middle, identity) for _ in range(count)))
        self.attention = Attention(channels)

    def forward(self, x):
        return self.final_conv(self.attention(torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], 1)))


class SPP(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.conv2 = Block(channels, channels // 2), Block(channels * 2, channels)

    def forward(self, x):
        x = self.conv1(x)
        return self.conv2(torch.cat([x] + [F.max_pool2d(x, side, 1, side // 2) for side in (5, 9, 13)], 1))


class CSPNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(Block(3, 32, 3, 2), Block(32, 32, 3), Block(32, 64, 3))
        stages = ((64, 128, 3, True), (128, 256, 6, True), (256, 512, 6, True), (512, 1024, 3, False))
        for i, (inside, outside, count, identity) in enumerate(stages, 1):
            middle = [] if identity else [SPP(outside)]
            self.add_module(f"stage{i}", nn.Sequential(Block(inside, outside, 3, 2), *middle, CSP(outside, count, identity)))

    def forward(self, x):
        return self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))


class ScaleNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.g, self.scale = nn.Parameter(torch.ones(1)), size**-0.5

    def forward(self, x):
        return x / (x.norm(dim=-1, keepdim=True) * self.scale).clamp(min=1e-5) * self.g


class Scale(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return x * self.scale


class GatedUnit(nn.Module):
    def __init__(self, size=256, wide=512, key=128):
        super().__init__()
        self.sizes = (wide, wide, key)
        self.gamma, self.beta = nn.Parameter(torch.ones(2, key)), nn.Parameter(torch.zeros(2, key))
        self.o, self.uv = nn.Linear(wide, size, bias=False), nn.Linear(size, 2 * wide + key, bias=False)
        self.ln, self.res_scale = ScaleNorm(size), Scale(size)

    def forward(self, x):
        u, v, base = F.silu(self.uv(self.ln(x))).split(self.sizes, -1)
        query, key = (base * self.gamma[i] + self.beta[i] for i in range(2))
        weights = F.relu(query @ key.transpose(1, 2) / self.sizes[2] ** 0.5) ** 2
        return self.res_scale(x) + self.o(u * (weights @ v))


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.final_layer = nn.Conv2d(1024, 133, 7, padding=3)
        self.mlp = nn.Sequential(ScaleNorm(108), nn.Linear(108, 256, bias=False))
        self.gau = GatedUnit()
        self.cls_x, self.cls_y = nn.Linear(256, 576, bias=False), nn.Linear(256, 768, bias=False)

    def forward(self, x):
        x = self.gau(self.mlp(self.final_layer(x).flatten(2)))
        return self.cls_x(x), self.cls_y(x)


class RTMPose(nn.Module):
    """DWPose's RTMPose-l, whole body: (1, 3, 384, 288) -> bins (1, 133, 576), (1, 133, 768)."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = CSPNeXt(), Head()

    def forward(self, x):
        return self.head(self.backbone(x))


class ConvNorm(nn.Module):
    def __init__(self, inside, outside, side=3):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(inside, outside, side, padding=side // 2, bias=False), nn.BatchNorm2d(outside)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Residual(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside)
        self.conv2, self.bn2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        for i, (inside, outside) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), 1):
            stride = 1 if i == 1 else 2
            self.add_module(f"layer{i}", nn.Sequential(Residual(inside, outside, stride), Residual(outside, outside, 1)))

    def forward(self, x):
        x = self.layer1(F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1))
        eighth = self.layer2(x)
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class Refinement(nn.Module):
    def __init__(self, inside, outside):
        super().__init__()
        self.conv, self.conv_atten, self.bn_atten = ConvNorm(inside, outside), nn.Conv2d(outside, outside, 1, bias=False), nn.BatchNorm2d(outside)

    def forward(self, x):
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(x.mean((2, 3), keepdim=True))))


class ContextPath(nn.Module):
    def __init__(self):
        super().__init__()
        self.resnet = ResNet18()
        self.arm16, self.arm32 = Refinement(256, 128), Refinement(512, 128)
        self.conv_head32, self.conv_head16, self.conv_avg = ConvNorm(128, 128), ConvNorm(128, 128), ConvNorm(512, 128, 1)

    def forward(self, x):
        eighth, sixteenth, last = self.resnet(x)
        average = F.interpolate(self.conv_avg(last.mean((2, 3), keepdim=True)), last.shape[2:], mode="nearest")
        coarse = self.conv_head32(F.interpolate(self.arm32(last) + average, sixteenth.shape[2:], mode="nearest"))
        fine = self.conv_head16(F.interpolate(self.arm16(sixteenth) + coarse, eighth.shape[2:], mode="nearest"))
        return eighth, fine, coarse


class Fusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.convblk = ConvNorm(256, 256, 1)
        self.conv1, self.conv2 = nn.Conv2d(256, 64, 1, bias=False), nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, detail, context):
        x = self.convblk(torch.cat([detail, context], 1))
        return x * torch.sigmoid(self.conv2(F.relu(self.conv1(x.mean((2, 3), keepdim=True))))) + x


class Output(nn.Module):
    def __init__(self, inside, middle):
        super().__init__()
        self.conv, self.conv_out = ConvNorm(inside, middle), nn.Conv2d(middle, 19, 1, bias=False)

    def forward(self, x, size):
        return F.interpolate(self.conv_out(self.conv(x)), size, mode="bilinear", align_corners=True)


class BiSeNet(nn.Module):
    """(1, 3, 512, 512) -> 19 classes, and the two outputs that training looks at: the official code computes all three."""

    def __init__(self):
        super().__init__()
        self.cp, self.ffm = ContextPath(), Fusion()
        self.conv_out, self.conv_out16, self.conv_out32 = Output(256, 256), Output(128, 64), Output(128, 64)

    def forward(self, x):
        size = x.shape[2:]
        eighth, fine, coarse = self.cp(x)
        return self.conv_out(self.ffm(eighth, fine), size), self.conv_out16(fine, size), self.conv_out32(coarse, size)
