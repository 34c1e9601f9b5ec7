"""Places in encapsulated documents: PDF (ISO 32000), CDA, STL, OBJ and MTL."""

import base64
import struct
import zlib
from collections.abc import Callable
from functools import partial

from benchmarks.leak_places.encoding import Element, Syntax, numbers, text
from benchmarks.leak_places.place import NATIVE, Catalogue, Instance
from benchmarks.leak_places.tokens import Mint

catalogue = Catalogue("Encapsulated documents")
_ENCAPSULATED_DOCUMENT = 0x00420011
_CLASSES = "1.2.840.10008.5.1.4.1.1."
_document = partial(catalogue.whole, syntaxes=NATIVE, provable=False, base="document")


def _put(instance: Instance, content: bytes, sop_class: str, mime: str) -> None:
    instance.sop_class = _CLASSES + sop_class
    instance.replace(
        text(0x00080016, "UI", instance.sop_class),
        text(0x00420012, "LO", mime),
        numbers(0x00420015, "UL", len(content)),
        Element(_ENCAPSULATED_DOCUMENT, "OB", content),
    )


def _stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), entries, content)


def _flate(content: bytes, entries: bytes = b"") -> bytes:
    return _stream(zlib.compress(content), b"/Filter /FlateDecode " + entries)


def pdf(page: bytes, catalog: bytes = b"", trailer: bytes = b"", *extra: bytes) -> bytes:
    """A PDF of one page whose content stream is object 4; `extra` become objects 6 and on."""
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R " + catalog + b" >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R /Annots [6 0 R]"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        page,
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        *extra,
    ]
    file, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(bodies, 1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    file += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    file += b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(bodies) + 1, trailer, start)
    return file


_EMPTY_PAGE = _stream(b"")


def _shown(token: bytes) -> bytes:
    return b"BT /F1 12 Tf 20 100 Td (" + token + b") Tj ET"


def _plant_pdf(name: str, what: str, make: Callable[[Mint], bytes]) -> None:
    @_document(f"PDF: {name}", what)
    def _(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
        _put(instance, make(mint), "104.1", "application/pdf")


_plant_pdf("text, compressed", "a page's text in a Flate stream", lambda m: pdf(_flate(_shown(m.ascii("page")))))
_plant_pdf("text, plain", "a page's text as it is", lambda m: pdf(_stream(_shown(m.ascii("page")))))
_plant_pdf(
    "text, in hexadecimal", "a page's text as a hexadecimal string in UTF-16",
    lambda m: pdf(_flate(b"BT <FEFF" + m.ascii("page").decode().encode("utf-16-be").hex().encode() + b"> Tj ET")),
)  # fmt: skip
_plant_pdf(
    "text, twice encoded", "a page's text in ASCII85 around Flate",
    lambda m: pdf(_stream(
        base64.a85encode(zlib.compress(_shown(m.ascii("page")))) + b"~>", b"/Filter [/ASCII85Decode /FlateDecode]"
    )),
)  # fmt: skip
_plant_pdf(
    "Info", "author, title and subject in the document's information",
    lambda m: pdf(_EMPTY_PAGE, b"", b"/Info 6 0 R",
                  b"<< /Author (%s) /Title (%s) >>" % (m.ascii("Author"), m.ascii("Title"))),
)  # fmt: skip
_plant_pdf(
    "XMP", "a metadata stream",
    lambda m: pdf(_EMPTY_PAGE, b"/Metadata 6 0 R", b"", _stream(
        b"<x:xmpmeta><dc:creator>" + m.ascii("creator") + b"</dc:creator></x:xmpmeta>", b"/Type /Metadata /Subtype /XML"
    )),
)  # fmt: skip
_plant_pdf(
    "attachment", "an embedded file, its name and its description",
    lambda m: pdf(
        _EMPTY_PAGE, b"/Names << /EmbeddedFiles << /Names [(a) 6 0 R] >> >>", b"",
        b"<< /Type /Filespec /F (%s) /Desc (%s) /EF << /F 7 0 R >> >>"
        % (m.ascii("file's name"), m.ascii("description")),
        _flate(m.ascii("embedded file", 40), b"/Type /EmbeddedFile"),
    ),
)  # fmt: skip
_plant_pdf(
    "annotation", "a note's contents and its author",
    lambda m: pdf(_EMPTY_PAGE, b"", b"", b"<< /Type /Annot /Subtype /Text /Rect [0 0 9 9] /T (%s) /Contents (%s) >>"
                  % (m.ascii("author"), m.ascii("contents"))),
)  # fmt: skip
_plant_pdf(
    "form field", "a form's value and its alternate name",
    lambda m: pdf(_EMPTY_PAGE, b"/AcroForm << /Fields [6 0 R] >>", b"",
                  b"<< /FT /Tx /T (n) /V (%s) /TU (%s) >>" % (m.ascii("value"), m.ascii("alternate name"))),
)  # fmt: skip
_plant_pdf(
    "script", "a script that is run when the document is opened",
    lambda m: pdf(_EMPTY_PAGE, b"/OpenAction << /S /JavaScript /JS (var n='" + m.ascii("script") + b"') >>"),
)  # fmt: skip
_plant_pdf("behind the end", "bytes behind %%EOF", lambda m: pdf(_EMPTY_PAGE) + m.ascii("behind"))
_plant_pdf("before the start", "bytes before %PDF", lambda m: m.ascii("before") + b"\n" + pdf(_EMPTY_PAGE))
_plant_pdf(
    "former revision", "an object that an incremental update replaced",
    lambda m: pdf(_stream(_shown(m.ascii("former page")))) + b"4 0 obj\n" + _EMPTY_PAGE + b"\nendobj\n%%EOF\n",
)  # fmt: skip
_plant_pdf(
    "comment",
    "a comment between objects",
    lambda m: pdf(_EMPTY_PAGE).replace(b"xref", b"%" + m.ascii("comment") + b"\nxref", 1),
)
_plant_pdf(
    "object stream", "objects within a compressed object stream",
    lambda m: pdf(_EMPTY_PAGE, b"", b"",
                  _flate(b"7 0 << /Author (" + m.ascii("author") + b") >>", b"/Type /ObjStm /N 1 /First 4")),
)  # fmt: skip


@_document("PDF: titles beside it", "document title, concept name, source and MIME types in the data set")
def _titles(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    _put(instance, pdf(_EMPTY_PAGE), "104.1", "application/pdf")
    instance.replace(
        text(0x00420010, "ST", mint.text("(0042,0010)")),
        text(0x00420014, "LO", b"application/pdf\\" + mint.text("(0042,0014)")),
        text(0x00080023, "DA", mint.date("(0008,0023)")),
        text(0x0040E001, "ST", mint.uid("(0040,E001)")),
    )


@_document("PDF: padding", "letters behind the document's length, as padding of the element")
def _padding(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    content = pdf(_EMPTY_PAGE)
    _put(instance, content, "104.1", "application/pdf")
    instance.replace(Element(_ENCAPSULATED_DOCUMENT, "OB", content + b"\0" + mint.ascii("padding", 15)))


@_document("CDA: text and attributes", "names, IDs, narrative and comments of a clinical document")
def _cda(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    content = (
        b"<?xml version='1.0' encoding='UTF-8'?><!-- " + mint.ascii("comment") + b" -->"
        b'<ClinicalDocument xmlns="urn:hl7-org:v3"><recordTarget><patientRole>'
        b'<id extension="' + mint.digits("id") + b'"/>'
        b"<patient><name>" + mint.ascii("name") + b"</name></patient></patientRole></recordTarget>"
        b"<text>" + mint.ascii("narrative") + b"</text><?pi " + mint.ascii("instruction") + b"?></ClinicalDocument>"
    )  # fmt: skip
    _put(instance, content, "104.2", "text/XML")


@_document("CDA: packed", "narrative in base64, character references and UTF-16")
def _cda_packed(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    packed = base64.b64encode(mint.ascii("base64", 30))
    content = '<?xml version="1.0" encoding="UTF-16"?><ClinicalDocument><value>' + packed.decode()
    content += f"</value><text>{mint.ascii('text').decode()}</text></ClinicalDocument>"
    _put(instance, content.encode("utf-16"), "104.2", "text/XML")


@_document("STL: header", "the 80 bytes before the triangles")
def _stl(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    triangles = struct.pack("<12fH", *range(12), 0)
    _put(instance, mint.ascii("header", 80) + struct.pack("<I", 1) + triangles, "104.3", "model/stl")


@_document("STL: in letters", "the solid's name in the form that is text")
def _stl_text(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    name = mint.ascii("solid")
    _put(instance, b"solid " + name + b"\nendsolid " + name + b"\n", "104.3", "model/stl")


@_document("OBJ and MTL", "comments, groups and materials of a mesh")
def _obj(mint: Mint, instance: Instance, _syntax: Syntax) -> None:
    content = (
        b"# "
        + mint.ascii("comment")
        + b"\nmtllib "
        + mint.ascii("library")
        + b".mtl\no "
        + mint.ascii("object")
        + b"\n"
    )
    _put(instance, content + b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "104.4", "model/obj")
