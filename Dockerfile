# truefit on a CPU. Build: docker build -t truefit .   Use: docker run --rm -v "$PWD:/data" truefit train photos
FROM python:3.11-slim
COPY pyproject.toml README.md LICENSE /truefit/
COPY src /truefit/src
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir '/truefit[serve]' \
    && useradd --create-home user
USER user
WORKDIR /data
ENTRYPOINT ["truefit"]
