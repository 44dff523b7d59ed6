// A memory that is read only, filled from a file of hexadecimal words. One cycle from address to data.
module snn_rom #(
    parameter WIDTH = 8,
    parameter DEPTH = 2,
    parameter ADDRESS = (DEPTH > 1) ? $clog2(DEPTH) : 1,
    parameter FILE = ""
) (
    input wire clk,
    input wire enable,
    input wire [ADDRESS-1:0] address,
    output reg [WIDTH-1:0] data
);
    // Synthesis tools would make logic of shallow memories whatever their size.
    generate
        if (WIDTH * DEPTH > 1024) begin : block
            (* rom_style = "block", ram_style = "block" *) reg [WIDTH-1:0] words[0:DEPTH-1];
            initial $readmemh(FILE, words);
            always @(posedge clk) if (enable) data <= words[address];
        end else begin : logic_
            reg [WIDTH-1:0] words[0:DEPTH-1];
            initial $readmemh(FILE, words);
            always @(posedge clk) if (enable) data <= words[address];
        end
    endgenerate
endmodule
