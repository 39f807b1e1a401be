"""Small copies of the releases: folders and names exactly as they are, pictures of drawn faces, and sheets."""

import media


def write_pictures(folder, numbers, pattern, size=96, offset=0):
    """Writes pictures; picture k shows the face of moment k, whatever its name."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    faces = media.face_frames(1, 24)
    for number in numbers:
        face = cv2.resize(faces[(number + offset) % len(faces)], (size, size), interpolation=cv2.INTER_AREA)
        assert cv2.imwrite(str(folder / pattern.format(number)), cv2.cvtColor(face, cv2.COLOR_RGB2BGR))
    return folder


def write_sheet(path, sheets):
    """Writes a workbook: sheet name -> rows."""
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


CASME2 = [  # participant, expression, onset, apex, offset, AU, expert emotion, kind, self-reported emotion
    [1, "disgust1_1", 5, 9, 20, "4", "negative", "macro-expression", "disgust"],
    [1, "disgust1_2", 22, 26, 0, "4", "negative", "macro-expression", "disgust"],
    [1, "happy1_1", 3, 0, 30, "12", "positive", "macro-expression", "happyiness"],
    [1, "happy1_2", 31, 34, 36, "12", "others", "micro-expression", "happiness"],
    [2, "anger1_1", 2, 4, 12, "4", "surprise", "macro-expression", "sympathy"],
    [15, "anger1_12", 8, 18, 14, 30, "others", "macro-expression", "happiness"],
]
RULE1 = [[15, "s15", 1], [16, "s16", 2], [32, "s32", 15]]
RULE2 = [["0101", "disgust1"], ["0401", "anger1"], ["0502", "happy1"]]


def casme2(root, layout="rawpic"):
    """CAS(ME)^2 in one of its layouts; the folder names carry the typo of the release."""
    sheet = write_sheet(
        root / "CAS(ME)^2code_final.xlsx", {"CASFEcode_final": CASME2, "naming rule1": RULE1, "naming rule2": RULE2}
    )
    pattern = {"rawpic": "img{:03d}.jpg", "cropped": "img_{}.jpg"}.get(layout)
    for subject, name in (
        ("s15", "15_0101disgustingteeth"), ("s15", "15_0502funnyerrors"), ("s15", "15_0508funnydunkey"),
        ("s16", "16_0401girlcrashing"), ("s32", "32_0401girlcrashing"),
    ):  # fmt: skip
        if pattern:
            write_pictures(root / layout / subject / name, range(1, 41), pattern)
        else:
            frames = [face[::2, ::2] for face in media.face_frames(1, 24)]
            media.write_video(root / layout / subject / f"{name}.avi", frames + frames[:16])
    return root / layout, sheet


def openface(root, numbers, order, base, lost=(), header="frame, timestamp, confidence, success"):
    """What OpenFace writes for pictures of these numbers that it read in some order; returns the aligned folder."""
    import cv2

    faces, folder = media.face_frames(1, 24), root / f"{base}_aligned"
    folder.mkdir(parents=True)
    for frame, number in enumerate(order, 1):
        image = faces[number % len(faces)][32:224, 32:224] if number not in lost else faces[0][:192, :192] * 0
        cv2.imwrite(str(folder / f"frame_det_00_{frame:06d}.bmp"), cv2.resize(image, (112, 112))[..., ::-1])
    rows = [
        f"{k}, 0.0, {0.0 if number in lost else 0.98}, {int(number not in lost)}" for k, number in enumerate(order, 1)
    ]
    (root / f"{base}.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


CASME3_HEADER = ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Expression type", "Objective class"]
CASME3 = [
    ["spNO.1", "a", "9", "12", "20", "4", "Macro-expression", "VII"],
    ["spNO.1", "a", "22", "24", "26", "4", "Micro-expression", "VII"],
    ["spNO.11", "J", "10", "15", "30", "4", "Macro-expression", "I"],
    ["spNO.216", "e", "0", "0", "25", "14", "Micro-expression", "VII"],
]
CASME3_EMOTIONS = [
    ["sub", "seq", "onset", "apex", "offset", "AU", "emotion"],
    ["spNO.1", "a", 9, 12, 20, "4", "happiness"],
    ["spNO.11", "j", 10, 15, 31, "4", "Others"],
]


def casme3(root):
    """CAS(ME)^3, part A: unpadded names, the first pictures missing, a gap, depth beside color."""
    sheet = write_sheet(
        root / "CAS(ME)3_part_A_v2.xlsx",
        {"AU+Emotion": [CASME3_HEADER, *CASME3], "eye blink": [["Subject", "Filename", "Onset", "Offset"]]},
    )
    emotions = write_sheet(root / "MaE_emotion.xlsx", {"Sheet1": CASME3_EMOTIONS})
    place = root / "part_A" / "data" / "part_A"
    write_pictures(place / "spNO.1" / "a" / "color", [*range(8, 15), *range(17, 41)], "{}.jpg")
    write_pictures(place / "spNO.1" / "a" / "depth", range(8, 12), "{}.png")
    write_pictures(place / "spNO.11" / "j" / "color", range(7, 41), "{}.jpg")
    write_pictures(place / "spNO.216" / "e" / "color", range(1, 41), "{}.jpg")
    write_pictures(place / "spNO.216" / "f" / "color", range(8, 41), "{}.jpg")
    return root / "part_A", sheet, emotions


SAMM_NOTES = [["SAMM Long Videos Dataset - FACS Codes"], [], ["Symbol Key:"], ['"/" = or']]
SAMM_HEADER = [
    "Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration", "Type", "Action Units", "Notes",
]  # fmt: skip
SAMM = [
    ["006", "006_1_1", 1, 10.4, 40.6, 113.2, "=SUM(F7-D7)+1", "Macro", "4", None],
    ["006", "006_1_10", 1, 120, -1, 160, 41, "Micro - 1/2", "4+7", None],
    ["011", "011_6_2", 6, 0, 50, 101, 102, "Macro", "12", "head moves"],
]


def samm(root):
    """SAMM Long Videos: notes before the header, 200 frames per second."""
    sheet = write_sheet(
        root / "SAMM_LongVideos_V2_Release.xlsx", {"FACS_Movement_Only": [*SAMM_NOTES, SAMM_HEADER, *SAMM]}
    )
    place = root / "SAMM_longvideos"
    for name in ("006_1", "011_6"):
        write_pictures(place / name, range(1, 201), f"{name}_" + "{:04d}.jpg", size=64)
    return place, sheet
